"""Training settings for a user who gives none, and a warning when they taught nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from tokmem.config.changes import with_changes
from tokmem.log import logger
from tokmem.model.backbone import Backbone
from tokmem.train.settings import FitReport, FitSettings

STEPS = 150
BATCH = 16
# The rate up to a number of backbone parameters, as measured on `mini` (6 million) and SmolLM2-135M. Beyond
# the last bound the paper's own rate stands, which was chosen for half a billion parameters and more.
RATES = ((50_000_000, 0.05), (400_000_000, 0.02))
_VALIDATIONS = 15
# Training has taught something if the loss fell below this share of the first one, or below this loss.
_SHARE, _LOW = 0.75, 0.5


def settings_for(
    examples: int,
    backbone: Backbone,
    given: Mapping[str, Any] | None = None,
    side_by_side: int = 0,
    batch: int = BATCH,
) -> FitSettings:
    """Chooses rate, batch size and epochs by the number of examples and the size of the backbone.

    A memory token needs about 150 optimizer steps, however few examples there are. So few examples are read
    many times, and many examples once. The paper's settings are those of `FitSettings()`.

    Args:
        examples: how many examples there are to train on.
        backbone: the frozen model; a smaller one takes a higher rate.
        given: settings that the user chose, by name; they stand, and the others are chosen to fit them.
        side_by_side: how many procedures train side by side, with one example of each in a step; 0 if steps
            take batches.
        batch: most examples in a step, unless the user chose a number.

    Raises:
        ConfigError: there is no such setting, or a value is out of range.
    """
    count = sum(parameter.numel() for parameter in backbone.model.parameters())
    lr = next((rate for bound, rate in RATES if count <= bound), FitSettings().lr)
    start = {"lr": lr, "batch_size": max(1, min(batch, examples))}
    settings = with_changes(FitSettings(), {**start, **(given or {})})
    in_epoch = steps_of(examples, settings, side_by_side, epochs=1)
    epochs = (given or {}).get("epochs", ceil(STEPS / in_epoch))
    chosen = {"epochs": epochs, "validate_every": STEPS // _VALIDATIONS if epochs > _VALIDATIONS else 0}
    return with_changes(
        settings, {name: value for name, value in chosen.items() if name not in (given or {})}
    )


def steps_of(
    examples: int, settings: FitSettings, side_by_side: int = 0, *, epochs: int | None = None
) -> int:
    """Counts the optimizer steps of a run, or of the given number of epochs."""
    in_epoch = ceil(max(1, examples) / (side_by_side or settings.batch_size * settings.accumulation))
    return in_epoch * (settings.epochs if epochs is None else epochs)


def describe(settings: FitSettings, examples: int, backbone: Backbone, side_by_side: int = 0) -> str:
    """Says in one line how training goes, and why."""
    passes = f"{settings.epochs} passes" if settings.epochs > 1 else "one pass"
    how = "with one of each procedure in a step" if side_by_side else f"in batches of {settings.batch_size}"
    return (
        f"{passes} over {examples} examples {how} make "
        f"{steps_of(examples, settings, side_by_side)} steps (a memory token needs about {STEPS}); "
        f"rate {settings.lr:g}, for the size of {backbone.id}"
    )


def settled(
    own: FitSettings | None,
    changes: Mapping[str, Any],
    examples: int,
    backbone: Backbone,
    side_by_side: int = 0,
    batch: int = BATCH,
) -> FitSettings:
    """The settings of one call: the user's own with changes; without own ones those of `settings_for`."""
    if own is not None:
        return with_changes(own, changes)
    settings = settings_for(examples, backbone, changes, side_by_side, batch)
    logger.info("%s", describe(settings, examples, backbone, side_by_side))
    return settings


def told(report: FitReport) -> FitReport:
    """Returns a report; warns if the loss hardly fell, in validation or else in training."""
    reached = report.loss if report.best_loss is None else report.best_loss
    if report.first_loss is not None and reached > max(_LOW, _SHARE * report.first_loss):
        logger.warning(
            "training has hardly learned anything: the loss was %.2f at first and is %.2f after %d steps; "
            "give more epochs, more examples, or a higher rate (lr)",
            report.first_loss,
            reached,
            report.steps,
        )
    return report
