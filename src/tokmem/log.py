"""The logger, the progress bar, and what training reports to. The library prints nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TypeAlias

from tqdm import tqdm

from tokmem.errors import ConfigError, TokMemError
from tokmem.files import atomic_write_bytes
from tokmem.strict_json import parse_json

logger = logging.getLogger("tokmem")


class _BesideBars(logging.Handler):
    """Clears progress bars before it shows a record, and draws them again afterwards."""

    def __init__(self, inner: logging.Handler) -> None:
        super().__init__()
        self.inner = inner

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            self.inner.handle(record)


def configure(level: int | str = "INFO") -> None:
    """Shows the library's log on stderr, with rich if it is installed. Only programs call this.

    Args:
        level: lowest level to show, such as "DEBUG". A second call replaces the first one's level.
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
_HIDDEN = False


def bars_on_line(line: int) -> None:
    """Draws the bars of this process on the given line, counted from 0, and removes finished ones."""
    global _LINE
    _LINE = line


def hide_bars() -> None:
    """Shows no bars in this process from now on."""
    global _HIDDEN
    _HIDDEN = True


def progress(total: int | None, desc: str, *, force: bool = False, **options: Any) -> tqdm[Any]:
    """A progress bar on stderr. If stderr is no terminal, lines of the log say how far it is, now and then.

    Args:
        total: number of steps; None if unknown.
        desc: text before the bar.
        force: show the bar also if stderr is no terminal.
        options: arguments of tqdm (`unit`, `initial`, `leave`).
    """
    shown = not _HIDDEN and (force or sys.stderr.isatty())
    if not (shown or _HIDDEN):
        return _Lines(total, desc, **options)
    if _LINE:
        options |= {"position": _LINE, "leave": False}
    return tqdm(total=total, desc=desc, file=sys.stderr, disable=not shown, dynamic_ncols=True, **options)


_FIRST, _BETWEEN = 10.0, 30.0  # seconds until the first line of the log, and between two


class _Lines(tqdm):  # type: ignore[type-arg]
    """A bar that is not drawn: lines of the log say what is done, and how long the rest will take."""

    def __init__(self, total: int | None, desc: str, **options: Any) -> None:
        super().__init__(total=total, disable=True, **options)
        self._desc, self._unit = desc, options.get("unit", "step")
        self._scaled = options.get("unit_scale", False)
        self._begun, self._next, self._before = monotonic(), monotonic() + _FIRST, self.n

    def update(self, n: float | None = 1) -> bool | None:
        """Counts steps, and logs a line if it is time for one."""
        self.n += n or 0
        if monotonic() >= self._next:
            self._next = monotonic() + _BETWEEN
            logger.info(self._line(monotonic() - self._begun))
        return None

    def _line(self, seconds: float) -> str:
        done = self.n - self._before
        if not self.total:
            return f"{self._desc}: {self._shown(self.n)} {self._unit} after {tqdm.format_interval(seconds)}"
        parts = f"{self._shown(self.n)} of {self._shown(self.total)} {self._unit}"
        left = tqdm.format_interval((self.total - self.n) * seconds / done) if done else "?"
        return f"{self._desc}: {parts}, about {left} left"

    def _shown(self, number: float) -> str:
        return str(tqdm.format_sizeof(number)) if self._scaled else f"{number:,}"


def postfix(bar: tqdm[Any], **values: object) -> None:
    """Shows values after the bar when it is next drawn; floats have four digits."""
    texts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    bar.set_postfix_str(", ".join(texts), refresh=False)


class Callback:
    """Is told what happens while something trains. Subclasses override the calls that they want."""

    def on_begin(self, step: int, steps: int) -> None:
        """Training begins, or goes on after `step` of its `steps` optimizer steps."""

    def on_step(self, step: int, values: Mapping[str, Any]) -> None:
        """An optimizer step is done; `values` holds `loss`, `lr`, `speed` and more by name."""

    def on_validation(self, step: int, loss: float) -> None:
        """The held-out examples have this mean loss after `step`."""

    def on_end(self, step: int) -> None:
        """Training has ended after `step`; the best parameters are in place."""

    def on_failure(self, step: int) -> None:
        """Training failed or was interrupted after `step`; its error follows.

        An error before the training is prepared, such as that of a bad example, is not told.
        """


Callbacks: TypeAlias = Sequence[Callback]


def tell_failure(callbacks: Callbacks, step: int) -> None:
    """Tells every callback of a failure. If a callback raises an error, that error becomes a warning."""
    for callback in callbacks:
        try:
            callback.on_failure(step)
        except Exception as error:  # noqa: BLE001 (a user's callback may raise anything)
            logger.warning("%s cannot be told of a failure: %s", type(callback).__name__, error)


def check_callbacks(callbacks: Callbacks) -> None:
    """Refuses a callback that cannot be told of a training.

    Raises:
        ConfigError: one is no `Callback`.
    """
    wrong: list[Any] = (
        [callbacks]
        if not isinstance(callbacks, Sequence)
        else [one for one in callbacks if not isinstance(one, Callback)]
    )
    if wrong:
        raise ConfigError(
            f"{type(wrong[0]).__name__} {wrong[0]!r:.60} as callbacks",
            "a list of objects whose classes extend tokmem.Callback",
            "override on_step(self, step, values), and give callbacks=[YourClass()]",
        )


class Metrics(Callback):
    """A file of JSON lines, one for each step. Each line is flushed, so a killed run loses at most one line.

    Floats keep six significant digits. NaN and infinity, which JSON lacks, become the texts "nan" and "inf".

    Args:
        path: the file. Lines are appended; missing folders are made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def on_begin(self, step: int, steps: int) -> None:
        """Drops the lines of later steps; a resumed run writes them again."""
        self.truncate(step)

    def on_step(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the values of a step."""
        self.write(step, values)

    def on_validation(self, step: int, loss: float) -> None:
        """Writes the loss of a validation."""
        self.write(step, {"validation_loss": loss})

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends the values of a step as a line."""
        line = {"step": step, **{name: _rounded(value) for name, value in values.items()}}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def truncate(self, after_step: int) -> None:
        """Drops the lines of steps after `after_step`.

        Raises:
            TokMemError: `write` did not write a line of the file.
        """
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [
            line for number, line in enumerate(lines, 1) if _step_of(line, self.path, number) <= after_step
        ]
        self._file.close()
        atomic_write_bytes(self.path, b"".join(kept))
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
    """Removes an incomplete last line that a killed process left."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _step_of(line: bytes, path: Path, number: int) -> int:
    try:
        return int(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError) as error:
        got = f"{path}, line {number}: {line.strip()[:80].decode('utf-8', 'replace')!r}"
        raise TokMemError(got, 'a JSON object with "step"', "mend or remove the line, then resume") from error
