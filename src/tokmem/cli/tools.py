"""`tokmem tools`: learn tools in rounds, and measure the calls of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from tokmem.cli import options as o
from tokmem.cli.flags import flags, overrides
from tokmem.cli.shared import load, run_folder, show_results
from tokmem.tracks.compositional import CompositionalConfig

EXAMPLES = "Example: tokmem tools --training_rounds 51-60:3,61-70:3 --train_size 300 --test_size 60 --lr 0.02"

# Options that the published scripts know by these names.
NAMES = {
    "backbone.model_name": "model",
    "training.lr": "lr",
    "training.weight_decay": "weight-decay",
    "training.batch_size": "batch-size",
    "recall.batch_size": "eval-batch-size",
}
# The track is this one; rounds say the epochs; recall chains; order and rows take the seeds of `--seeds`.
SKIP = ("track", "training.epochs", "training.seed", "recall.mode")


def tools(ctx: typer.Context, **given: Any) -> None:
    """Learn tools as memory tokens, round after round, and measure the calls that queries ask for.

    Settings are those of an experiment file (track: compositional), which may be given too; options change
    it. Without any, the tools are generated ones.
    """
    from tokmem.config import load_config
    from tokmem.tracks.compositional import run

    config = load_config(CompositionalConfig, given["experiment"], overrides(CompositionalConfig, given))
    folder = run_folder(given["save_path"], given["resume"], Path("runs") / config.name)
    summary = run(
        config, folder, resume=given["resume"], workers=given["workers"], backbone=load(config.backbone)
    )
    show_results(summary, folder)


def _signature() -> inspect.Signature:
    """The command's own parameters, and an option for each setting."""
    own = {
        "experiment": (Annotated[Path | None, typer.Argument(help="YAML file to start from.")], None),
        "save_path": (o.SavePath, None),
        "resume": (o.Resume, False),
        "workers": (Annotated[int, typer.Option(min=1, help="Processes that share the methods.")], 1),
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_ONLY, annotation=typer.Context)
    named = [inspect.Parameter(n, keyword, default=d, annotation=a) for n, (a, d) in own.items()]
    return inspect.Signature([context, *named, *flags(CompositionalConfig, NAMES, SKIP)])


tools.__signature__ = _signature()  # type: ignore[attr-defined]
