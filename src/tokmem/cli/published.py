"""Other names of options: those of the published scripts and of earlier versions. Switches for settings.

docs/published.md lists every argument of the scripts with its counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from tokmem.errors import ConfigError

_ONE = {"task": "tasks", "method": "methods", "prompt": "prompts", "seed": "seeds"}
_ATOMIC = {"model-name": "backbone", "save-path": "out", "task": "tasks"}
ALIASES: dict[str, dict[str, str]] = {
    "train": {
        **_ATOMIC,
        **_ONE,
        "num-epochs": "epochs",
        "gradient-accumulation-steps": "accumulation",
        "validate-every-n-steps": "validate-every",
        "shuffle-train": "shuffle",
        "no-shuffle-train": "no-shuffle",
        "plain": "no-frozen-prefix",
    },
    "eval": {**_ATOMIC, "load-task-tokens": "bank"},
    "recall": {
        "model-name": "backbone",
        "batch-size": "eval-batch-size",
        "seed": "recall.seed",
        "file": "queries",
    },
    "learn": {"schedule": "training.schedule", "top-k": "teacher-top-k"},
    "bank add": {
        "model-name": "backbone",
        "schedule": "training.schedule",
        "seed": "training.seed",
        "file": "procedures",
    },
    "bank compose": {
        "model-name": "backbone",
        "schedule": "training.schedule",
        "seed": "training.seed",
    },
    "tools": {
        "model-name": "backbone",
        "model": "backbone",
        "save-path": "out",
        "name": "experiment-name",
        "schedule": "training.schedule",
    },
    "data compose": {
        "source": "path",
        "seed": "data.seed",
        "output-dir": "out",
        "top-k": "tools",
        "max-samples-per-tool": "samples-per-tool",
        "train-max-function-calls": "train-max-calls",
        "test-max-function-calls": "test-max-calls",
    },
}
"""By command, other names of its options and the options that they stand for."""

PRESETS = {"paper": {}, "scripts": {"training.lr": "0.001", "training.weight_decay": "0.01"}}
"""What differs from the config's defaults, which are the paper's: rate and decay of the published scripts."""

_PANEL = "As in the published scripts"
Decouple = Annotated[
    bool,
    typer.Option("--decouple-embeddings", help="Method tokmem_dc instead of tokmem.", rich_help_panel=_PANEL),
]
ContinualReplay = Annotated[
    bool,
    typer.Option(
        "--continual-replay",
        help="Method replay instead of lora, with schedule blocks.",
        rich_help_panel=_PANEL,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="<name>",
        help="Train as in the paper (rate 0.005, one epoch, batches of 4), or with the rate and decay of its "
        "scripts (0.001 and 0.01). Without it, settings fit the corpus and the backbone.",
        rich_help_panel=_PANEL,
    ),
]


def preset_settings(name: str | None) -> Mapping[str, str]:
    """Finds the settings of a preset, YAML texts by key; without a name there are none.

    Raises:
        ConfigError: there is no such preset.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}", f"one of {', '.join(PRESETS)}")
    return PRESETS[name]


def switched_method(method: str | None, decouple: bool, replay: bool) -> str:
    """Finds the method that `--method` and the published switches name together.

    Raises:
        ConfigError: they name different methods.
    """
    if replay and method in (None, "lora"):
        method = "replay"
    method = method or "tokmem"
    stray = ["continual-replay"] * (replay and method != "replay")
    stray += ["decouple-embeddings"] * (decouple and "tokmem" not in method)
    if stray:
        raise ConfigError(
            f"--{stray[0]} and method {method}", "options of one method", "leave it out, or name its method"
        )
    return method.replace("tokmem", "tokmem_dc", 1) if decouple and "tokmem_dc" not in method else method
