"""The search of learning rates: as many for every trained method, chosen on validation loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokmem.errors import ConfigError

Losses = Mapping[float, float]  # validation loss by rate; empty where there was no choice


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


def best_rate(losses: Losses) -> float | None:
    """The rate with the lowest loss; None where there was no choice."""
    return min(losses, key=losses.__getitem__) if losses else None


def searched(losses: Mapping[str, Losses]) -> dict[str, Any]:
    """What a summary says of the search: by method the rate that was chosen, and the loss of each."""
    tried = {name: own for name, own in losses.items() if own}
    return {
        "chosen_rates": {name: best_rate(own) for name, own in tried.items()},
        "rate_losses": {
            name: {f"{rate:g}": round(loss, 6) for rate, loss in own.items()} for name, own in tried.items()
        },
    }
