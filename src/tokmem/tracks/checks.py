"""Checks that the configs of several tracks make."""

from __future__ import annotations

from tokmem.errors import ConfigError
from tokmem.train.settings import FitSettings


def check_order_seed(training: FitSettings) -> None:
    """Refuses a seed in section `training`, for every run takes one of the experiment's `seeds` in its place.

    Raises:
        ConfigError: there is one.
    """
    if training.seed:
        raise ConfigError(f"training.seed {training.seed}", "seeds of the experiment", "set seeds")
