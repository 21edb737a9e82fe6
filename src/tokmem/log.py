"""One logger, one progress bar, one file of metrics. The library prints nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from tokmem.errors import TokMemError
from tokmem.files import atomic_write_text

logger = logging.getLogger("tokmem")
logger.addHandler(logging.NullHandler())


class _BesideBars(logging.Handler):
    """Clears progress bars before a record is shown and draws them again after it."""

    def __init__(self, inner: logging.Handler) -> None:
        super().__init__()
        self.inner = inner

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            self.inner.handle(record)


def configure(level: int | str = "INFO") -> None:
    """Shows the library's log on stderr, with rich where it is there; programs call it, the library never.

    Args:
        level: least level shown, such as "DEBUG". A second call replaces what the first one set.
    """
    for handler in [handler for handler in logger.handlers if isinstance(handler, _BesideBars)]:
        logger.removeHandler(handler)
    logger.addHandler(_BesideBars(_terminal_handler()))
    logger.setLevel(level)
    logger.propagate = False


def _terminal_handler() -> logging.Handler:
    try:
        from rich.console import Console
        from rich.logging import RichHandler
    except ImportError:
        plain = logging.StreamHandler()
        plain.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        return plain
    return RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")


_LINE = 0


def bars_on_line(line: int) -> None:
    """Draws this process's bars on a line of their own, from 0, and removes them when they are done."""
    global _LINE
    _LINE = line


def progress(total: int | None, desc: str, *, force: bool = False, **options: Any) -> tqdm[Any]:
    """A progress bar on stderr, silent where that is no terminal.

    Args:
        total: how many steps; None if not known.
        desc: what is going on.
        force: show it in any case.
        options: handed to tqdm (`unit`, `initial`, `leave`).
    """
    shown = force or sys.stderr.isatty()
    if _LINE:
        options |= {"position": _LINE, "leave": False}
    return tqdm(total=total, desc=desc, file=sys.stderr, disable=not shown, dynamic_ncols=True, **options)


def postfix(bar: tqdm[Any], **values: object) -> None:
    """Shows values behind the bar at its next redraw, floats with four digits."""
    texts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    bar.set_postfix_str(", ".join(texts), refresh=False)


class Metrics:
    """A file of JSON lines, one per step, flushed at once: a killed run loses at most the line being written.

    Floats keep six significant digits; NaN and infinity, which JSON lacks, become texts ("nan", "inf").

    Args:
        path: the file; lines are appended, and folders above it are made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends a line of values measured at a step."""
        line = {"step": step, **{name: _rounded(value) for name, value in values.items()}}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def truncate(self, after_step: int) -> None:
        """Drops the lines of steps later than `after_step`, which a resumed run is going to write again.

        Raises:
            TokMemError: a line is not one that `write` wrote.
        """
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        kept = [
            line for number, line in enumerate(lines, 1) if _step_of(line, self.path, number) <= after_step
        ]
        self._file.close()
        atomic_write_text(self.path, "".join(kept))
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in value]
    return value


def _drop_torn_line(path: Path) -> None:
    """Cuts a last line without its line feed: the process was killed while writing it."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _step_of(line: str, path: Path, number: int) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError) as error:
        got = f"{path}, line {number}: {line.strip()[:80]!r}"
        raise TokMemError(got, 'a JSON object with "step"', "mend or remove the line, then resume") from error
