"""What the commands show, and where they write."""

from __future__ import annotations

import json
import shlex
import shutil
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
    from tokmem.records import Answer, ParsedCall, Procedure, Route, Turn
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


def command_line(*arguments: object) -> str:
    """A command of `tokmem` to be typed as this one was, arguments quoted where a shell needs it."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        program = [sys.executable, "-m", "tokmem"]
    elif called.stem != "tokmem" or _is_file(shutil.which("tokmem"), called):
        program = ["tokmem"]
    else:
        program = [str(called)]
    return shlex.join([*program, *map(str, arguments)])


def _is_file(found: str | None, called: Path) -> bool:
    return found is not None and called.exists() and called.samefile(found)


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
        counts = ", ".join(f"{count:,} {name}" for name, count in summary["examples"].items())
        facts.append(counts if summary.get("task") == "memorise" else f"{counts} examples")
    facts += [f"backbone {summary['backbone']}", f"{summary['wall_seconds']:.0f} s. Run folder: {folder}"]
    out.print("; ".join(facts), markup=False)
    if summary.get("chosen_rates"):
        rates = ", ".join(f"{name} {rate:g}" for name, rate in summary["chosen_rates"].items())
        out.print(f"Learning rates chosen on validation: {rates}", markup=False)
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


def own_backbone(bank: Path, name: str) -> str:
    """The backbone that a run adapted for its banks, where it lies beside them; else the name."""
    adapted = bank.parent.parent / name
    return str(adapted) if (adapted / "config.json").is_file() else name


def answer_record(answer: Answer, procedures: Mapping[str, Procedure]) -> dict[str, Any]:
    """An answer for JSON; a tool's turn has its arguments, and why they are not valid if they are not."""
    route = answer.route
    return {
        "query": answer.query,
        "recalled": [turn.procedure for turn in answer.turns],
        "response": answer.response,
        "turns": [
            {"procedure": turn.procedure, "response": turn.response}
            | ({"routes": _choices(turn_route)} if turn_route else {})
            | _call_record(_call(turn, procedures))
            for turn, turn_route in zip(answer.turns, _turn_routes(answer), strict=True)
        ],
        "text": answer.text,
        "routes": _choices(route) if route else [],
        "rejected": route.rejected if route else None,
        "memory_mass": route.memory_mass if route else None,
        "finished": answer.finished,
        "prompt_tokens": answer.prompt_tokens,
    }


def _choices(route: Route) -> list[dict[str, Any]]:
    return [{"procedure": c.procedure, "probability": c.probability} for c in route.choices]


def _turn_routes(answer: Answer) -> Sequence[Route | None]:
    """How each turn was chosen, as far as that was recorded."""
    return answer.routes or [answer.route, *[None] * len(answer.turns)][: len(answer.turns)]


def _call(turn: Turn, procedures: Mapping[str, Procedure]) -> ParsedCall | None:
    """A tool's turn as a call; None where the procedure is no tool."""
    from tokmem.data.calls.parse import call_of

    procedure = procedures.get(turn.procedure)
    return None if procedure is None or procedure.parameters is None else call_of(turn, procedure)


def _call_record(parsed: ParsedCall | None) -> dict[str, Any]:
    if parsed is None:
        return {}
    return {"arguments": parsed.call and parsed.call.arguments, "error": parsed.error}


def show_json(records: Sequence[Mapping[str, Any]]) -> None:
    """Prints a JSON object a line."""
    for record in records:
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def show_answer(
    answer: Answer,
    procedures: Mapping[str, Procedure],
    *,
    reference: str | None = None,
    forced: bool = False,
) -> None:
    """Prints a query, and of each turn the token with its probability, the runners-up and the response.

    Args:
        answer: what to print.
        procedures: of the bank, by name; arguments of tools are held against their schemas.
        reference: the right response.
        forced: whether the procedures were given.
    """
    out = console()
    lines = [("query", answer.query, "bold")]
    if not answer.turns:
        if answer.route is not None:
            nearest = _choice_texts(answer.route)[0]
            text = f"no memory token: plain text was more likely than {nearest}"
            lines.append(("recalled", text, "cyan"))
        lines.append(("response", answer.text, "green"))
    elif answer.text:
        lines.append(("text", answer.text, "green"))
    for turn, route in zip(answer.turns, _turn_routes(answer), strict=True):
        lines.append(("recalled", _route_line(turn, route, forced), "cyan"))
        lines += _response_lines(turn, _call(turn, procedures))
    if not answer.finished:
        label, text, style = lines[-1]
        lines[-1] = (label, f"{text} [cut]", style)
    if reference is not None:
        lines.append(("reference", reference, ""))
    for label, text, style in lines:
        out.print(Text.assemble((f"{label:>9}  ", "dim"), (text, style)))
    out.print()


def _response_lines(turn: Turn, parsed: ParsedCall | None) -> list[tuple[str, str, str]]:
    if parsed is None:
        return [("response", turn.response, "green")]
    if parsed.error is None:
        return [("arguments", f"{turn.response}   valid", "green")]
    return [("arguments", turn.response, "yellow"), ("not valid", parsed.error, "red")]


def _route_line(turn: Turn, route: Route | None, forced: bool) -> str:
    if route is None:
        return turn.procedure
    if forced:
        return f"{turn.procedure}, forced   (routing: {', '.join(_choice_texts(route))})"
    texts = dict(zip((choice.procedure for choice in route.choices), _choice_texts(route), strict=True))
    recalled = texts.pop(turn.procedure, turn.procedure)  # a sampled one may be none of the most probable
    return recalled + (f"   (then {', '.join(texts.values())})" if texts else "")


def _choice_texts(route: Route) -> list[str]:
    return [f"{choice.procedure} {100 * choice.probability:.1f}%" for choice in route.choices]
