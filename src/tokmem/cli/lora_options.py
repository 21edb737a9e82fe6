"""Options of fine-tuning, the rival that `tokmem train --method lora` or `replay` trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LORA = "LoRA"

LoraR = Annotated[int | None, typer.Option(help="Rank of the adapter (8).", rich_help_panel=_LORA)]
LoraAlpha = Annotated[
    int | None, typer.Option(help="The adapter counts alpha/r (32).", rich_help_panel=_LORA)
]
LoraDropout = Annotated[
    float | None, typer.Option(help="Dropout of the adapter's input (0.1).", rich_help_panel=_LORA)
]
TargetModules = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Layers to adapt (q_proj,v_proj).", rich_help_panel=_LORA),
]
LoadModel = Annotated[
    Path | None,
    typer.Option(
        help="A saved adapter: to train on, or to evaluate with --skip-training.", rich_help_panel=_LORA
    ),
]
ContinualReplay = Annotated[
    bool,
    typer.Option(
        "--continual-replay",
        help="Method replay: tasks come in blocks, and earlier examples again.",
        rich_help_panel=_LORA,
    ),
]
ReplayRatio = Annotated[
    float | None,
    typer.Option(
        "--continual-replay-ratio", help="Replayed examples among all (0.2).", rich_help_panel=_LORA
    ),
]
