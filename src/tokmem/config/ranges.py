"""Range checks for the numbers and lists of a config."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from tokmem.errors import ConfigError


def check_least(values: Mapping[str, Any], least: Mapping[str, float]) -> None:
    """Refuses a setting below its least value, and a number that is not finite.

    Args:
        values: values by name of the setting; may hold others. Each number of a tuple is checked; None is
            not.
        least: the least value by name, for the settings to check.

    Raises:
        ConfigError: a value is out of range.
    """
    for name, low in least.items():
        value = values[name]
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(low <= number < math.inf for number in numbers):
            raise ConfigError(f"{name} {list(value) if numbers is value else value}", f"at least {low}")


def check_filled(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuses an empty list.

    Args:
        values: values by name of the setting; may hold others.
        names: names of the lists to check.

    Raises:
        ConfigError: a list is empty.
    """
    for name in names:
        if not values[name]:
            raise ConfigError(f"no {name}", "at least one")


def check_once(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuses a list that holds a value twice: its work would be done twice, and a mean would count it twice.

    Args:
        values: values by name of the setting; may hold others.
        names: names of the lists to check.

    Raises:
        ConfigError: a list holds a value twice.
    """
    for name in names:
        if len(set(values[name])) < len(values[name]):
            raise ConfigError(
                f"{name} {list(values[name])}", "each once: it would be done and counted twice", "remove one"
            )


def changed(config: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Names the settings among `names` whose values differ from their defaults."""
    defaults = {field.name: field.default for field in fields(config)}
    return tuple(name for name in names if getattr(config, name) != defaults[name])
