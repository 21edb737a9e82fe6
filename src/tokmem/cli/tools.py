"""`tokmem tools`: learn tools in rounds, and measure the calls of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from tokmem.cli import options as o
from tokmem.cli.flags import SETTINGS, FlagsCommand, flags, overrides
from tokmem.cli.shared import load, run_folder, show_results

EXAMPLES = "Example: tokmem tools --training_rounds 51-60:3,61-70:3 --train_size 300 --test_size 60 --lr 0.02"

# Options that the published scripts know by these names.
NAMES = {
    "backbone.model_name": "model",
    "training.lr": "lr",
    "training.weight_decay": "weight_decay",
    "training.batch_size": "batch_size",
    "recall.batch_size": "eval_batch_size",
}
# The track is this one; rounds say the epochs; recall chains; order and rows take the seeds of `seeds`.
SKIP = ("track", "training.epochs", "training.seed", "recall.mode")


class ToolsCommand(FlagsCommand):
    """With the settings of the compositional track."""

    @classmethod
    def options(cls) -> list[inspect.Parameter]:
        """An option a setting."""
        from tokmem.tracks.tool_config import CompositionalConfig

        return flags(CompositionalConfig, NAMES, SKIP)


def tools(
    ctx: typer.Context,
    experiment: Annotated[
        Path | None, typer.Argument(help="YAML file to start from.", show_default=False)
    ] = None,
    save_path: o.SavePath = None,
    resume: o.Resume = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the methods.")] = 1,
) -> None:
    """Learn tools as memory tokens, round after round, and measure the calls that queries ask for.

    Settings are those of an experiment file (track: compositional), which may be given too; options change
    it. Without --source the tools are generated ones.
    """
    from tokmem.config import load_config
    from tokmem.tracks.compositional import run
    from tokmem.tracks.tool_config import CompositionalConfig
    from tokmem.tracks.tool_reads import check_read

    given = overrides(CompositionalConfig, ctx.meta[SETTINGS])
    config = load_config(CompositionalConfig, experiment, given)
    check_read(config, (one.partition("=")[0] for one in given))
    folder = run_folder(save_path, resume, Path("runs/tools"))
    summary = run(config, folder, resume=resume, workers=workers, backbone=load(config.backbone))
    show_results(summary, folder)
