"""Settings changed for one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from tokmem.errors import ConfigError

S = TypeVar("S")


def with_changes(settings: S, changes: Mapping[str, Any]) -> S:
    """The settings with some values changed.

    Args:
        settings: a config dataclass.
        changes: new values by name.

    Raises:
        ConfigError: there is no such setting, or a value is out of range.
    """
    known = [field.name for field in fields(settings)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            part = [other for other in known if name in other or other in name]
            close = ", ".join(part or get_close_matches(name, known, n=3))
            raise ConfigError(
                f"no setting {name!r}{f' (close: {close})' if close else ''}", f"one of {', '.join(known)}"
            )
    return replace(settings, **changes)  # type: ignore[type-var]
