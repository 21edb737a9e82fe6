"""What the commands show, and where they write."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from tokmem.errors import ConfigError, TokMemError
from tokmem.report.results import results_table
from tokmem.report.tables import Table

if TYPE_CHECKING:
    from tokmem.model.backbone import Backbone
    from tokmem.records import Answer, Route
    from tokmem.tracks.backbone import BackboneConfig

_PIPE_WIDTH, _WIDEST = 160, 1_000


def console(width: int | None = None) -> Console:
    """Standard output; wide where it is no terminal, so that no table is squeezed in a file."""
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width or wide, highlight=False, soft_wrap=True)


def show_table(table: Table, whole: Sequence[str] = (), *, lines: bool = True) -> None:
    """Prints a table, on a terminal that is too narrow wider than that: nothing is cut.

    Args:
        table: what to print.
        whole: columns whose cells are not wrapped.
        lines: whether to draw lines between the cells.
    """
    shown, out = _rich(table, whole, lines), console()
    console(max(out.width, _least_width(shown))).print(shown, soft_wrap=False)


def _rich(table: Table, whole: Sequence[str], lines: bool) -> RichTable:
    shown = table.rich()
    for key, column in zip(table.titles, shown.columns, strict=True):
        column.no_wrap = key in whole
    if not lines:
        shown.box, shown.padding, shown.pad_edge = None, (0, 1, 0, 0), False
    return shown


def _least_width(shown: RichTable) -> int:
    out = console(_WIDEST)
    return Measurement.get(out, out.options, shown).minimum


def complain(error: TokMemError | OSError) -> None:
    """What was got, what was wanted and what to do, on stderr."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        error = TokMemError(
            f"{where}{error.strerror or error}", "a path that can be read and written", "check it"
        )
    text = Text.assemble(("error: ", "bold red"), error.got)
    for label, part in (("wanted: ", error.wanted), ("to do: ", error.do)):
        if part:
            text.append_text(Text.assemble("\n  ", (label, "bold"), part))
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def load(config: BackboneConfig) -> Backbone:
    """Loads a backbone without the progress bars of transformers."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return config.load()


def free_folder(folder: Path) -> Path:
    """The folder, or the first of `folder-2`, `folder-3`, ... that does not exist."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def run_folder(save_path: Path | None, resume: bool, default: Path) -> Path:
    """Where a run goes.

    Raises:
        ConfigError: a run is to be resumed and its folder is not named.
    """
    if resume and save_path is None:
        raise ConfigError("--resume without --save-path", "the folder of the run", "name it")
    return save_path or free_folder(default)


def show_results(summary: Mapping[str, Any], folder: Path) -> None:
    """Prints a run's table, and where the run is."""
    table, names, out = results_table(summary), ("method", "prompt"), console()
    fits = _least_width(_rich(table, names, lines=True)) <= out.width
    if not fits:
        rows = [{**row, "prompt": (row.get("prompt") or "").replace("+", "\n+")} for row in table.rows]
        table = replace(table, rows=rows)
    show_table(table, names, lines=fits)
    facts = [f"{len(summary['procedures'])} procedures"] if "procedures" in summary else []
    if "examples" in summary:
        facts.append(
            ", ".join(f"{count:,} {split}" for split, count in summary["examples"].items()) + " examples"
        )
    facts += [f"backbone {summary['backbone']}", f"{summary['wall_seconds']:.0f} s. Run folder: {folder}"]
    out.print("; ".join(facts), markup=False)
    if summary.get("memorised"):
        _show_memorised(summary["memorised"])


def _show_memorised(parts: Sequence[Mapping[str, Any]]) -> None:
    """Prints what was written back from the memory that gave back most."""
    best = max(parts, key=lambda part: part["recovered_tokens"])
    out = console()
    shape = f"{best['embeddings']} embeddings holding {best['tokens']} tokens"
    out.print(f"\nWritten greedily from marker and memory ({best['method']}, {shape}):\n", markup=False)
    for one in best["written"]:
        for label in ("marker", "passage", "written"):
            out.print(Text.assemble((f"{label:>9}  ", "dim"), " ".join(one[label].split())))
        out.print()


def answer_record(answer: Answer) -> dict[str, Any]:
    """An answer for JSON."""
    route = answer.route
    return {
        "query": answer.query,
        "recalled": [turn.procedure for turn in answer.turns],
        "response": answer.response,
        "turns": [{"procedure": t.procedure, "response": t.response} for t in answer.turns],
        "text": answer.text,
        "routes": [{"procedure": c.procedure, "probability": c.probability} for c in route.choices]
        if route
        else [],
        "rejected": route.rejected if route else None,
        "memory_mass": route.memory_mass if route else None,
        "finished": answer.finished,
        "prompt_tokens": answer.prompt_tokens,
    }


def show_json(records: Sequence[Mapping[str, Any]]) -> None:
    """Prints a JSON object a line."""
    for record in records:
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def show_answer(answer: Answer, *, reference: str | None = None, forced: bool = False) -> None:
    """Prints a query, the recalled token with its probability and the runners-up, and the response."""
    out = console()
    lines = [("query", answer.query, "bold")]
    if answer.route is not None:
        lines.append(("recalled", _route_line(answer, answer.route, forced), "cyan"))
    if len(answer.turns) > 1:
        lines += [(turn.procedure, turn.response, "green") for turn in answer.turns]
    else:
        lines.append(("response", answer.response + ("" if answer.finished else " [cut]"), "green"))
    if reference is not None:
        lines.append(("reference", reference, ""))
    for label, text, style in lines:
        out.print(Text.assemble((f"{label:>9}  ", "dim"), (text, style)))
    out.print()


def _route_line(answer: Answer, route: Route, forced: bool) -> str:
    first, *others = (f"{c.procedure} {100 * c.probability:.1f}%" for c in route.choices)
    rest = f"   (then {', '.join(others)})" if others else ""
    if forced and answer.turns:
        return f"{answer.turns[0].procedure}, forced   (routing: {', '.join([first, *others])})"
    if not answer.turns:
        return f"no memory token: plain text was more likely than {first}"
    return first + rest
