"""Checks of configs that several tracks share."""

from __future__ import annotations

from tokmem.errors import ConfigError
from tokmem.train.settings import FitSettings


def check_order_seed(training: FitSettings) -> None:
    """Refuses a seed in section `training`. No run would read it: each takes one of the experiment's `seeds`.

    Raises:
        ConfigError: there is one.
    """
    if training.seed:
        raise ConfigError(f"training.seed {training.seed}", "seeds of the experiment", "set seeds")
