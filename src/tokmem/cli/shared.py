"""What commands share: options, the terminal, and the folders that they write."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tokmem.cli import launched
from tokmem.cli.explain import explanations
from tokmem.errors import ConfigError, TokMemError
from tokmem.log import logger
from tokmem.records import Answer, Procedure
from tokmem.report.results import result_facts, results_table
from tokmem.report.tables import Table, least_width

if TYPE_CHECKING:  # importing it takes seconds
    from tokmem.model.backbone import Backbone

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Folder of the run. \\[default: the next free one under runs]", rich_help_panel="Output"
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel="Output")
]
Workers = Annotated[
    int,
    typer.Option(
        min=1, help="Processes that share the work; each loads the backbone.", rich_help_panel="Output"
    ),
]
_PIPE_WIDTH = 160


def console(width: int | None = None) -> Console:
    """Opens standard output; it is wide if it is no terminal, so that tables in files keep their lines."""
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width or wide, highlight=False, soft_wrap=True)


def show_table(table: Table, whole: Sequence[str] = (), *, lines: bool = True) -> None:
    """Prints a table; it may be wider than the terminal, so that nothing is cut.

    Args:
        table: the table.
        whole: keys of the columns whose cells never wrap.
        lines: whether to draw lines between cells.
    """
    shown, out = table.rich(whole, lines), console()
    console(max(out.width, least_width(shown))).print(shown, soft_wrap=False)
    for title, meaning in explanations(table):
        out.print(Text.assemble((f"{title}: ", "bold"), meaning))


def complain(error: Exception) -> None:
    """Prints an error on stderr: what was got, what was wanted and what to do."""
    known, index = _described(error), launched.index()
    label = f"error in process {index}: " if index else "error: "
    text = Text.assemble((label, "bold red"), known.got)
    for label, part in (("wanted: ", known.wanted), ("to do: ", known.do)):
        if part:
            text.append_text(Text.assemble("\n  ", (label, "bold"), part))
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _described(error: Exception) -> TokMemError:
    """Describes any error; one that is not the user's is ours, or of the machine."""
    if isinstance(error, TokMemError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        got = f"{where}{error.strerror or error}"
        return TokMemError(got, "a path that can be read and written", "check it")
    got = f"{type(error).__name__}: {error}"
    return TokMemError(
        got, do="see where with `tokmem --debug ...`; report it with what `tokmem doctor` says"
    )


def load(config: Any) -> Backbone:
    """Loads a backbone; bars of transformers show only what a hub has to send."""
    from transformers.utils import logging

    from tokmem.model.catalog import is_local

    if is_local(config.model_name):
        logging.disable_progress_bar()
    logger.info("loading %s, which takes a while", config.model_name)
    return config.load()


def command_line(*arguments: object) -> str:
    """Writes a command of `tokmem` as the user called this one, with arguments quoted for a shell."""
    called, found = Path(sys.argv[0]), shutil.which("tokmem")
    if called.name == "__main__.py":
        program = [sys.executable, "-m", "tokmem"]
    elif called.stem != "tokmem" or (found and called.exists() and called.samefile(found)):
        program = ["tokmem"]
    else:
        program = [str(called)]
    return shlex.join([*program, *map(str, arguments)])


def free_folder(folder: Path) -> Path:
    """Finds the first of `folder`, `folder-2`, `folder-3`, ... that does not exist."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def run_folder(out: Path | None, resume: bool, default: Path) -> Path:
    """Chooses the folder of a run, the same in every process: `out`, or the first free one like `default`.

    Raises:
        ConfigError: a run is to be resumed, and its folder is not named or does not exist.
    """
    if not resume:
        return out or Path(launched.from_first(lambda: str(free_folder(default))))
    if out is None:
        raise ConfigError("--resume without --out", "the folder of the run", "name it with --out")
    if not out.is_dir():
        raise ConfigError(f"--resume, but {out} does not exist", "the folder of a run", "check --out")
    return out


def show_results(summary: Mapping[str, Any], folder: Path) -> None:
    """Prints the table of a run, and its folder."""
    table, names, out = results_table(summary), ("method", "prompt"), console()
    fits = least_width(table.rich(names)) <= out.width
    if not fits:
        rows = [{**row, "prompt": (row.get("prompt") or "").replace("+", "\n+")} for row in table.rows]
        table = replace(table, rows=rows)
    show_table(table, names, lines=fits)
    out.print("\n".join(result_facts(summary, folder)), markup=False)
    if summary.get("memorised"):
        _show_memorised(summary["memorised"])


def _show_memorised(parts: Sequence[Mapping[str, Any]]) -> None:
    """Prints what the best memory wrote back."""
    best = max(parts, key=lambda part: part["recovered_tokens"])
    shape = f"{best['embeddings']} embeddings holding {best['tokens']} tokens"
    console().print(
        f"\nThe model wrote this from the marker and its memory ({best['method']}, {shape}):\n",
        markup=False,
    )
    for one in best["written"]:
        _show_lines((name, " ".join(one[name].split()), "") for name in ("marker", "passage", "written"))


def _show_lines(lines: Iterable[tuple[str, str, str]]) -> None:
    """Prints labels, texts and their styles, and an empty line."""
    out = console()
    for label, text, style in lines:
        out.print(Text.assemble((f"{label:>9}  ", "dim"), (text, style)))
    out.print()


def show_json(records: Sequence[Mapping[str, Any]]) -> None:
    """Prints a JSON object a line."""
    for record in records:
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def show_answer(
    answer: Answer, procedures: Mapping[str, Procedure], *, reference: str | None = None, forced: bool = False
) -> None:
    """Prints an answer.

    Args:
        answer: the answer.
        procedures: the procedures of the bank by name.
        reference: the right response.
        forced: whether the procedures were given.
    """
    from tokmem.report.answers import Line, answer_lines

    lines = answer_lines(answer, procedures, forced)
    if reference is not None:
        lines.append(Line("reference", reference, ""))
    _show_lines(lines)
