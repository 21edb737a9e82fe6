"""Training settings for a user who gives none, and a warning when they taught nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
# Training has taught something if the loss fell below this share of the first one and below `_HIGH`, or if it
# is below `_LOW`.
_SHARE, _LOW, _HIGH = 0.75, 0.5, 4.0


def settings_for(
    examples: int,
    backbone: Backbone,
    given: Mapping[str, Any] | None = None,
    side_by_side: Sequence[int] = (),
    batch: int = BATCH,
) -> FitSettings:
    """Chooses rate, batch size and passes by the number of examples and the size of the backbone.

    A memory token needs about 150 optimizer steps, however few examples there are. So few examples are read
    many times, and many examples once. The paper's settings are those of `FitSettings()`.

    Args:
        examples: how many examples there are to train on.
        backbone: the frozen model; a smaller one takes a higher rate.
        given: settings that the user chose, by name; they stand, and the others are chosen to fit them.
        side_by_side: number of examples of each procedure, if procedures train side by side. Empty if each
            step takes a batch of all.
        batch: most examples in a step, unless the user chose a number.

    Raises:
        ConfigError: there is no such setting, or a value is out of range.
    """
    own = given or {}
    count = sum(parameter.numel() for parameter in backbone.model.parameters())
    lr = next((rate for bound, rate in RATES if count <= bound), FitSettings().lr)
    start = {"lr": lr, "batch_size": max(1, min(batch, examples))}
    settings = with_changes(FitSettings(), {**start, **own})
    passes = {"epochs", "min_steps"} & {*own}
    in_pass = _in_pass(examples, settings)
    chosen = {"min_steps": STEPS} if side_by_side else {"epochs": ceil(STEPS / in_pass)}
    settings = with_changes(settings, {} if passes else chosen)
    most = settings.lasting(min(side_by_side, default=in_pass)).epochs
    often = STEPS // _VALIDATIONS if most > _VALIDATIONS else 0
    return with_changes(settings, {} if "validate_every" in own else {"validate_every": often})


def steps_of(examples: int, settings: FitSettings) -> int:
    """How many optimizer steps a run in batches takes."""
    in_pass = _in_pass(examples, settings)
    return in_pass * settings.lasting(in_pass).epochs


def _in_pass(examples: int, settings: FitSettings) -> int:
    """How many optimizer steps one pass over the examples takes in batches."""
    return ceil(max(1, examples) / (settings.batch_size * settings.accumulation))


def describe(
    settings: FitSettings, examples: int, backbone: Backbone, side_by_side: Sequence[int] = ()
) -> str:
    """Says in one line how training goes, and why."""
    counts = sorted(side_by_side) or [_in_pass(examples, settings)]
    passes = [settings.lasting(count).epochs for count in (counts[-1], counts[0])]
    steps = [settings.lasting(count).epochs * count for count in counts]
    many, make = (f"{_range(*passes)} passes over", "make") if passes[1] > 1 else ("1 pass over", "makes")
    of, each = f"{examples} examples in batches of {settings.batch_size}", ""
    if side_by_side:
        of, each = f"the {_range(counts[0], counts[-1])} examples of each procedure", " for it"
    return (
        f"{many} {of} {make} {_range(min(steps), max(steps))} steps{each} "
        f"(a memory token needs about {STEPS}); rate {settings.lr:g}, for the size of {backbone.id}"
    )


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def settled(
    own: FitSettings | None,
    changes: Mapping[str, Any],
    examples: int,
    backbone: Backbone,
    side_by_side: Sequence[int] = (),
    batch: int = BATCH,
) -> FitSettings:
    """The settings of one call: the user's own with changes; without own ones those of `settings_for`."""
    if own is not None:
        return with_changes(own, changes)
    settings = settings_for(examples, backbone, changes, side_by_side, batch)
    logger.info("%s", describe(settings, examples, backbone, side_by_side))
    return settings


def warn_unlearned(report: FitReport, names: Sequence[str] = ()) -> FitReport:
    """Returns a report; warns if the loss hardly fell, in validation or else in training.

    Args:
        report: of a training.
        names: the procedures that were trained, if the warning is to name them.
    """
    reached = report.loss if report.best_loss is None else report.best_loss
    if report.first_loss is not None and reached > max(_LOW, min(_SHARE * report.first_loss, _HIGH)):
        logger.warning(
            "training has hardly learned anything%s: the loss was %.2f at first and is %.2f after %d steps; "
            "give more epochs, more examples, a higher rate (lr), or a larger backbone",
            f" of {', '.join(names[:5])}" if names else "",
            report.first_loss,
            reached,
            report.steps,
        )
    return report
