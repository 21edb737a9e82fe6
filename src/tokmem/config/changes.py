"""Settings changed for one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from tokmem.config.elsewhere import unknown

S = TypeVar("S")


def with_changes(settings: S, changes: Mapping[str, Any]) -> S:
    """The settings with some values changed.

    Args:
        settings: a config dataclass.
        changes: new values by name. A list, or one text, may stand for a tuple.

    Raises:
        ConfigError: there is no such setting, or a value is out of range.
    """
    known = [field.name for field in fields(settings)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            raise unknown("setting", name, known)
    values = {name: _as_held(value, getattr(settings, name)) for name, value in changes.items()}
    return replace(settings, **values)  # type: ignore[type-var]


def _as_held(value: Any, held: Any) -> Any:
    """The value as a tuple, if the setting holds one."""
    if isinstance(held, tuple) and isinstance(value, str | list):
        return (value,) if isinstance(value, str) else tuple(value)
    return value
