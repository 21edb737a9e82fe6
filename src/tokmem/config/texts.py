"""Writes values as YAML texts, which `load_config` takes as overrides."""

from __future__ import annotations

import json


def quoted(value: object) -> str:
    """Writes a text, or a list of texts, as YAML."""
    return json.dumps(value, ensure_ascii=False)


def yaml_text(kind: str, value: str | bool | list[str] | tuple[str, ...]) -> str:
    """Writes what a command line gave for a setting as YAML.

    Args:
        kind: the type of the setting, as `type_name` writes it.
        value: the text, yes or no, or several texts. Lists are split at commas; a text in brackets is YAML
            itself, for entries that hold a comma.
    """
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        parts = [part for one in value for part in _parts(kind, one)]
        return f"[{', '.join(parts)}]"
    if "list" in kind and ("," in value or value.startswith("[")):
        return f"[{', '.join(_parts(kind, value))}]"
    return quoted(value) if _is_text(kind) and value != "null" else value


def _parts(kind: str, value: str) -> list[str]:
    """Splits one value of a list; a value in brackets is YAML itself, for texts that hold a comma."""
    if value.startswith("[") and value.endswith("]"):
        return [value[1:-1]] if value[1:-1].strip() else []
    parts = [part.strip() for part in value.split(",")] if value else []
    return list(map(quoted, parts)) if _is_text(kind) else parts


def _is_text(kind: str) -> bool:
    return "str" in kind or "'" in kind
