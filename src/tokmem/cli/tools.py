"""`tokmem tools`: learns tools in rounds and measures the calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokmem.cli.flags import Flags, given, track_config
from tokmem.cli.shared import Out, Resume, Workers, load, run_folder, show_results

EXAMPLE = (
    "tokmem tools --training-rounds 51-60:3,61-70:3 --train-size 300 --val-size 20 --test-size 60 --lr 0.02"
)
# The rounds say the epochs, recall always chains, and `seeds` seed order and rows.
FLAGS = Flags("compositional", skip=("track", "training.epochs", "training.seed", "recall.mode"))


def tools(
    ctx: typer.Context,
    experiment: Annotated[Path | None, typer.Argument(help="YAML file to start from.")] = None,
    out: Out = None,
    resume: Resume = False,
    workers: Workers = 1,
) -> None:
    """Learn tools as memory tokens, round after round, and measure the calls that queries ask for.

    The settings are those of an experiment file (track: compositional); options change those of a file.
    Without --source the tools are generated.
    """
    from tokmem.tracks.compositional.readers import check_read
    from tokmem.tracks.run import run

    settings = given(ctx)
    config = track_config("compositional", settings, experiment)
    check_read(config, settings)
    folder = run_folder(out, resume, Path("runs/tools"))
    summary = run(config, folder, resume=resume, workers=workers, backbone=load(config.backbone))
    show_results(summary, folder)
