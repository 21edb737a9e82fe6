"""`tokmem data compose`: queries for several tools, in files as users of the published code know them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from tokmem.cli import data_options as o
from tokmem.cli.shared import console, show_table
from tokmem.errors import ConfigError
from tokmem.report.tables import Table

if TYPE_CHECKING:
    from tokmem.data.calls.compose import Composed, ComposeSpec
    from tokmem.data.calls.ranges import ToolRange
    from tokmem.data.calls.xlam import XlamRows

T = TypeVar("T", int, float)

EXAMPLES = "Example: tokmem data compose --source xlam.json --top-k 1-50,51-100 --output-dir data"

app = typer.Typer(no_args_is_help=True, help="Make data for tools that are called in chains.")


@app.command(epilog=EXAMPLES)
def compose(
    ctx: typer.Context,
    source: o.Source = None,
    samples_per_tool: o.SamplesPerTool = None,
    exclude: o.Exclude = None,
    top_k: o.TopK = None,
    training_rounds: o.TrainingRounds = None,
    num_rounds: o.NumRounds = None,
    tools_per_round: o.ToolsPerRound = None,
    start_tool: o.StartTool = None,
    train_size: o.TrainSize = None,
    val_size: o.ValSize = None,
    test_size: o.TestSize = None,
    train_max_calls: o.TrainMaxCalls = None,
    test_max_calls: o.TestMaxCalls = None,
    train_max_calls_per_round: o.PerRound = None,
    test_max_calls_per_round: o.PerRound = None,
    train_multi_tool_ratios: o.TrainRatios = None,
    test_multi_tool_ratios: o.TestRatios = None,
    same_tool_share: o.SameToolShare = None,
    connectors: o.Connectors = None,
    seed: o.Seed = None,
    output_dir: o.OutputDir = Path("data"),
    single: o.Single = False,
) -> None:
    """Compose training and test queries for several tools from rows that call one tool each."""
    ranges = _ranges(ctx.params)
    if single and len(ranges) > 1:
        raise ConfigError(f"--single with {len(ranges)} ranges", "one range", "name one by --top-k")
    specs = _specs(ctx.params, ranges)
    data = _read(source, specs[0], max(tools.last for tools in ranges))
    composed = _compose(data, exclude, ranges, specs)
    files = _write(composed, None if single else ranges, specs, output_dir)
    _show_counts(ranges, composed)
    if data.broken:
        reasons = [{"reason": reason, "rows": count} for reason, count in data.broken.items()]
        show_table(Table(reasons, {"reason": "rows left out", "rows": "rows"}))
    console().print("\n".join(map(str, files)), markup=False)


def _ranges(given: Mapping[str, Any]) -> tuple[ToolRange, ...]:
    """The ranges that one of three ways names."""
    from tokmem.data.calls.ranges import ToolRange, consecutive_ranges, parse_rounds

    ways = ("top_k", "training_rounds", "num_rounds")
    named = [f"--{way.replace('_', '-')}" for way in ways if given[way] is not None]
    if len(named) > 1:
        raise ConfigError(" and ".join(named), "one of them", "leave the others out")
    each, start = given["tools_per_round"], given["start_tool"]
    if (given["num_rounds"] is None) != (each is None) or (start is not None and each is None):
        raise ConfigError(
            "--num-rounds, --tools-per-round or --start-tool alone",
            "the first two together, and maybe the third",
        )
    if each is not None:
        return consecutive_ranges(1 if start is None else start, each, given["num_rounds"])
    if given["training_rounds"]:
        return tuple(tools for tools, _ in parse_rounds(given["training_rounds"]))
    return ToolRange.parse_all(given["top_k"] or o.DEFAULT_TOOLS)


def _specs(given: Mapping[str, Any], ranges: Sequence[ToolRange]) -> list[ComposeSpec]:
    """How the queries of each range are made; what is not given is as in `ComposeSpec`."""
    from tokmem.data.calls.compose import ComposeSpec

    values = {field.name: given[field.name] for field in fields(ComposeSpec)}
    for name in ("train_multi_tool_ratios", "test_multi_tool_ratios"):
        values[name] = _numbers(name, values[name], float)
    values["connectors"] = tuple(values["connectors"] or ())
    chosen = {name: value for name, value in values.items() if value is not None and value != ()}
    spec = ComposeSpec(**chosen)
    train, test = (
        _per_round(f"{name}_per_round", given, getattr(spec, name), len(ranges))
        for name in ("train_max_calls", "test_max_calls")
    )
    return [replace(spec, train_max_calls=a, test_max_calls=b) for a, b in zip(train, test, strict=True)]


def _per_round(name: str, given: Mapping[str, Any], default: int, rounds: int) -> tuple[int, ...]:
    numbers = _numbers(name, given[name], int) or (default,) * rounds
    if len(numbers) != rounds:
        raise ConfigError(f"{name} {given[name]}", f"{rounds} numbers, one for each range")
    return numbers


def _numbers(name: str, text: str | None, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Numbers between commas; none where there is no text."""
    try:
        return tuple(kind(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise ConfigError(f"{name} {text}", "numbers between commas") from error


def _read(source: str | None, spec: ComposeSpec, last: int) -> XlamRows:
    """The rows of a source, or of as many generated tools as the last rank asks for."""
    from tokmem.data.calls.xlam import read_xlam
    from tokmem.mini.tool_rows import mini_tool_rows
    from tokmem.mini.tools import TOOLS

    if source:
        return read_xlam(source)
    return mini_tool_rows(spec.samples_per_tool, spec.seed, max(0, last - len(TOOLS)))


def _compose(
    data: XlamRows, exclude: Sequence[str] | None, ranges: Sequence[ToolRange], specs: Sequence[ComposeSpec]
) -> list[Composed]:
    """Every range, before the first is written: a mistake leaves no half of them."""
    from tokmem.data.calls.compose import compose
    from tokmem.data.calls.schema_check import check_schema
    from tokmem.data.calls.xlam import EXCLUDED, rank_tools

    ranked = rank_tools(data.rows, exclude or EXCLUDED)
    console().print(f"{len(data.rows):,} rows; {len(ranked)} tools have rows of their own")
    chosen = [tools.select(ranked) for tools in ranges]
    for tool in (tool for tools in chosen for tool in tools):
        check_schema(tool)
    return [compose(data.rows, tools, spec) for tools, spec in zip(chosen, specs, strict=True)]


def _write(
    composed: Sequence[Composed],
    ranges: Sequence[ToolRange] | None,
    specs: Sequence[ComposeSpec],
    folder: Path,
) -> list[Path]:
    from tokmem.data.calls.files import write_calls

    names: Sequence[ToolRange | None] = ranges or [None]
    made = zip(names, specs, composed, strict=True)
    return [file for tools, spec, one in made for file in write_calls(folder, tools, spec, one)]


def _show_counts(ranges: Sequence[ToolRange], composed: Sequence[Composed]) -> None:
    """How many queries of each number of calls a split has."""
    from tokmem.data.corpus import SPLITS

    counted = [
        (str(tools), split, Counter(len(example.turns) for example in made.examples(split)))
        for tools, made in zip(ranges, composed, strict=True)
        for split in SPLITS
    ]
    numbers = sorted({number for _, _, calls in counted for number in calls})
    titles = {str(number): f"{number} call{'s' if number > 1 else ''}" for number in numbers}
    rows = [
        {"tools": tools, "split": split, "queries": calls.total()}
        | {str(number): calls[number] for number in numbers}
        for tools, split, calls in counted
        if calls
    ]
    show_table(Table(rows, {"tools": "tools", "split": "split", "queries": "queries", **titles}))
