"""The search of learning rates: equally many for every trained method, chosen on validation loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from tokmem.errors import ConfigError, DivergedError
from tokmem.log import logger
from tokmem.methods.protocol import Learned, MethodSpec

# Validation loss by rate: infinite if training diverged; empty if there was no search.
Losses = Mapping[float, float]


def rates_of(config: Any, spec: MethodSpec) -> tuple[float, ...]:
    """The learning rates that a method searches; empty if its rate is given or it has none."""
    return attrgetter(spec.rates)(config) if spec.rates else ()


def check_search(rates: Iterable[Sequence[float]]) -> None:
    """Refuses an experiment in which one trained method has more rates to choose from than another.

    Raises:
        ConfigError: it has.
    """
    budgets = sorted({len(own) for own in rates})
    if len(budgets) > 1:
        raise ConfigError(
            f"{budgets[0]} rates for one method and {budgets[-1]} for another (rates, lora.rates)",
            "as many of each: every method gets the same search",
        )


def search(rates: Iterable[float], learn: Callable[[float], Learned]) -> Losses:
    """The validation loss of each rate. A rate at which training diverges has an infinite one.

    Args:
        rates: to try.
        learn: trains at a rate, with validation examples.

    Raises:
        DivergedError: training diverges at every rate.
    """
    losses: dict[float, float] = {}
    for rate in rates:
        try:
            loss = learn(rate).validation_loss
        except DivergedError as error:
            logger.warning("rate %g is out of the search: %s", rate, error.got)
            losses[rate], diverged = math.inf, error
            continue
        assert loss is not None, "there are validation examples"
        losses[rate] = loss
    if losses and not any(map(math.isfinite, losses.values())):
        raise diverged
    return losses


def best_rate(losses: Losses) -> float | None:
    """The rate with the lowest loss; None if there was no search."""
    return min(losses, key=losses.__getitem__) if losses else None


def searched(losses: Mapping[str, Losses]) -> dict[str, Any]:
    """The summary's entries on the search: the chosen rate of each method, and the loss of each rate.

    The loss is None where training diverged.
    """
    tried = {name: own for name, own in losses.items() if own}
    return {
        "chosen_rates": {name: best_rate(own) for name, own in tried.items()},
        "rate_losses": {
            name: {f"{rate:g}": round(loss, 6) if math.isfinite(loss) else None for rate, loss in own.items()}
            for name, own in tried.items()
        },
    }
