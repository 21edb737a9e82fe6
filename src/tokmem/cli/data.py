"""`tokmem data compose`: makes queries for several tools, in the files of the published code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli.flags import Flags, given, track_config
from tokmem.cli.shared import console, show_table
from tokmem.config import parse_yaml
from tokmem.config.texts import quoted
from tokmem.errors import ConfigError
from tokmem.report.tables import Table

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.data.calls.ranges import ToolRange

EXAMPLE = "tokmem data compose --tools 51-60 --train-size 100 --test-size 20 --out runs/data"
_RANGES = tuple(
    f"rounds.{name}" for name in ("tools", "training_rounds", "num_rounds", "tools_per_round", "start_tool")
)
FLAGS = Flags(
    "compositional",
    keys=("data.*", *_RANGES),
    skip=("data.source", "data.connectors", "data.more_tools", "data.max_samples"),
    defaults={"data.val_size": "0", "rounds.tools": "1-50,51-100", "rounds.start_tool": "1"}
    | dict.fromkeys(("rounds.num_rounds", "rounds.tools_per_round"), "null"),
    docs={
        "data.path": "rows in xlam's columns: JSON, JSON lines, parquet, or a hub id; none: generated tools",
        "rounds.tools": "ranges of tools by frequency, or their number",
        "rounds.training_rounds": "the ranges of rounds, such as 1-50:1,51-100:3; epochs do not matter",
        "rounds.num_rounds": "number of consecutive ranges",
        "rounds.tools_per_round": "tools in each of these ranges",
    },
)
app = typer.Typer(name="data", no_args_is_help=True, help="Make data for tools that are called in chains.")


def compose(
    ctx: typer.Context,
    connector: Annotated[
        list[str] | None,
        typer.Option("--connector", help="Text before all parts of a query but the first; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the data.")] = Path("data"),
    single: Annotated[
        bool, typer.Option("--single", help="Name the files without range and number of calls.")
    ] = False,
) -> None:
    """Compose training and test queries for several tools from rows that call one tool each."""
    from tokmem.data.calls.compose import compose_ranges
    from tokmem.data.calls.files import write_calls
    from tokmem.report.composed import counts_table
    from tokmem.tracks.compositional.data import ToolSource

    settings = given(ctx)
    ranges = _ranges(settings)
    if single and len(ranges) > 1:
        raise ConfigError(f"--single with {len(ranges)} ranges", "one range", "name one with --tools")
    config = _config(settings, ranges, connector)
    specs = [config.spec(index) for index in range(len(ranges))]
    source = ToolSource(config)
    rows, ranked = source.rows.rows if source.rows else (), source.ranked
    console().print(f"{len(rows):,} rows; {len(ranked)} tools have rows of their own")
    composed = compose_ranges(rows, [tools.select(ranked) for tools in ranges], specs)
    names: Sequence[ToolRange | None] = [None] if single else ranges
    made = zip(names, specs, composed, strict=True)
    files = [file for tools, spec, one in made for file in write_calls(out, tools, spec, one)]
    show_table(counts_table(dict(zip(map(str, ranges), composed, strict=True))))
    if source.broken:
        reasons = [{"reason": reason, "rows": count} for reason, count in source.broken.items()]
        show_table(Table(reasons, {"reason": "rows left out", "rows": "rows"}))
    console().print("\n".join(map(str, files)), markup=False)


def _ranges(settings: dict[str, str]) -> tuple[ToolRange, ...]:
    """Takes the ranges of tools out of the settings."""
    from tokmem.data.calls.ranges import ToolRange, choose_ranges

    values = [parse_yaml(settings.pop(key, "null"), key) for key in _RANGES]
    for key, value in zip(_RANGES[2:], values[2:], strict=True):
        if not isinstance(value, int | None):
            raise ConfigError(f"{key}: {value!r}", "a whole number")
    return choose_ranges(*values) or ToolRange.parse_all(FLAGS.defaults["rounds.tools"])


def _config(settings: dict[str, str], ranges: Sequence[ToolRange], connectors: list[str] | None) -> Any:
    """Makes the section `data` of a compositional experiment with one round for each range."""
    from tokmem.mini.tools import TOOLS

    settings["rounds.training_rounds"] = quoted(",".join(f"{tools}:1" for tools in ranges))
    settings.setdefault("data.val_size", "0")
    if "data.path" in settings:
        settings["data.source"] = "xlam"
    else:
        settings["data.more_tools"] = str(max(0, max(tools.last for tools in ranges) - len(TOOLS)))
    if connectors:
        settings["data.connectors"] = quoted(connectors)
    return track_config("compositional", settings).data
