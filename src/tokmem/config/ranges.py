"""Checks of numbers and lists in a config, made when it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from tokmem.errors import ConfigError


def check_least(values: Mapping[str, Any], least: Mapping[str, float]) -> None:
    """Refuses settings below their least value, and numbers that are not finite.

    Args:
        values: of the settings by name, maybe among others; a list of numbers is checked number by number.
        least: by name of those to check.

    Raises:
        ConfigError: one is out of range.
    """
    for name, low in least.items():
        value = values[name]
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(low <= number < math.inf for number in numbers):
            raise ConfigError(f"{name} {list(value) if numbers is value else value}", f"at least {low}")


def check_once(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuses lists in which something stands twice: means would count it as another seed.

    Args:
        values: of the settings by name, maybe among others.
        names: of the lists to check.

    Raises:
        ConfigError: one has a value twice.
    """
    for name in names:
        if len(set(values[name])) < len(values[name]):
            raise ConfigError(
                f"{name} {list(values[name])}", "each once: a mean would count one twice", "remove one"
            )


def changed(config: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Those of some settings of a config that differ from their defaults."""
    defaults = {field.name: field.default for field in fields(config)}
    return tuple(name for name in names if getattr(config, name) != defaults[name])
