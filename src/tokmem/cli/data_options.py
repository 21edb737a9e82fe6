"""Options of `tokmem data compose`; those of the queries are named as in `ComposeSpec`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_TOOLS = "1-50,51-100"
_ROWS, _TOOLS, _QUERIES, _OUTPUT = "Rows", "Tools", "Queries", "Output"

Source = Annotated[
    str | None,
    typer.Option(
        help="Rows in xlam's columns: JSON, JSON lines, parquet, or a hub id; without it generated tools.",
        rich_help_panel=_ROWS,
    ),
]
SamplesPerTool = Annotated[
    int | None,
    typer.Option(
        "--samples-per-tool",
        "--max-samples-per-tool",
        help="Rows of a tool, for all splits together (50); 0: all there are, of --source.",
        rich_help_panel=_ROWS,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="A tool to leave out of the ranks (search); may be repeated.", rich_help_panel=_ROWS),
]
TopK = Annotated[
    str | None,
    typer.Option(
        "--top-k",
        "--tools",
        metavar="RANGES",
        help=f"Ranges of tools by frequency, or their number ({DEFAULT_TOOLS}).",
        rich_help_panel=_TOOLS,
    ),
]
TrainingRounds = Annotated[
    str | None,
    typer.Option(
        metavar="ROUNDS",
        help="The ranges of rounds such as 1-50:1,51-100:3; epochs are not looked at.",
        rich_help_panel=_TOOLS,
    ),
]
NumRounds = Annotated[
    int | None, typer.Option(help="Ranges one after another, so many.", rich_help_panel=_TOOLS)
]
ToolsPerRound = Annotated[int | None, typer.Option(help="Tools in each of them.", rich_help_panel=_TOOLS)]
StartTool = Annotated[int | None, typer.Option(help="Where they start (1).", rich_help_panel=_TOOLS)]
TrainSize = Annotated[
    int | None, typer.Option(help="Training queries of a range (5000).", rich_help_panel=_QUERIES)
]
ValSize = Annotated[
    int | None, typer.Option(help="Validation queries of a range (0).", rich_help_panel=_QUERIES)
]
TestSize = Annotated[
    int | None, typer.Option(help="Test queries of a range (500).", rich_help_panel=_QUERIES)
]
TrainMaxCalls = Annotated[
    int | None,
    typer.Option(
        "--train-max-calls",
        "--train-max-function-calls",
        help="Most calls in a training or validation query (4).",
        rich_help_panel=_QUERIES,
    ),
]
TestMaxCalls = Annotated[
    int | None,
    typer.Option(
        "--test-max-calls",
        "--test-max-function-calls",
        help="Most calls in a test query (4).",
        rich_help_panel=_QUERIES,
    ),
]
PerRound = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="The same, range by range.", rich_help_panel=_QUERIES),
]
TrainRatios = Annotated[
    str | None,
    typer.Option(
        "--train-multi-tool-ratios",
        metavar="X,X,...",
        help="Shares of 2, 3, ... tools among training queries for several (equal).",
        rich_help_panel=_QUERIES,
    ),
]
TestRatios = Annotated[
    str | None,
    typer.Option(
        "--test-multi-tool-ratios",
        metavar="X,X,...",
        help="Likewise among test queries.",
        rich_help_panel=_QUERIES,
    ),
]
SameToolShare = Annotated[
    float | None,
    typer.Option(
        help="Share of queries for several in which one tool is called again (0.1).", rich_help_panel=_QUERIES
    ),
]
Connectors = Annotated[
    list[str] | None,
    typer.Option(
        "--connector", help="Put before all but the first; may be repeated.", rich_help_panel=_QUERIES
    ),
]
Seed = Annotated[int | None, typer.Option(help="Of splits and draws (0).", rich_help_panel=_QUERIES)]
OutputDir = Annotated[
    Path, typer.Option("--output-dir", "--out", help="Folder of the data.", rich_help_panel=_OUTPUT)
]
Single = Annotated[
    bool,
    typer.Option("--single", help="Name the files without range and calls.", rich_help_panel=_OUTPUT),
]
