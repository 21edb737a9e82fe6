"""Converts what YAML read to what a config wants; checks every value against the type of its field."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from tokmem.config.settings import MAPPINGS, REQUIRED, UNIONS, default_of, help_table, settings, type_name
from tokmem.config.variables import expand
from tokmem.errors import ConfigError

T = TypeVar("T")

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def build(cls: type[T], raw: Mapping[Any, Any], base: T | None, key: str) -> T:
    """Makes a config of class `cls` from what YAML read.

    Args:
        cls: the dataclass.
        raw: names and values as YAML read them.
        base: its values replace what `raw` lacks; None takes the defaults of the class.
        key: the dotted key of this section; empty for the whole config.

    Raises:
        ConfigError: a key is unknown or missing, a value has the wrong type, or the class refuses it.
    """
    prefix = f"{key}." if key else ""
    known = settings(cls)
    for name in raw:
        if name not in {field.name for field, _ in known}:
            _refuse_key(cls, str(name), prefix)
    values: dict[str, Any] = {}
    for field, hint in known:
        name, default = prefix + field.name, default_of(field, base)
        if field.name in raw:
            values[field.name] = _convert(raw[field.name], hint, name, default)
        elif default is not REQUIRED:
            values[field.name] = default
        elif dataclasses.is_dataclass(hint):
            values[field.name] = _convert({}, hint, name)
        else:
            do = f"add it to the config file, or pass `--set {name}=...`"
            raise ConfigError(f"{name} is missing", type_name(hint), do)
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error.got}" if key else error.got, error.wanted, error.do) from error


def _refuse_key(cls: type[Any], name: str, prefix: str) -> NoReturn:
    """Refuses an unknown key; suggests similar keys of this section and of those below it."""
    own = [field.name for field, _ in settings(cls)]
    known = {name: [name] for name in own}
    for row in help_table(cls):
        section, _, leaf = row.key.rpartition(".")
        if section:
            known.setdefault(leaf, []).append(row.key)
    close = [prefix + near for match in difflib.get_close_matches(name, known) for near in known[match]]
    wanted = f"one of {', '.join(prefix + name for name in own)}"
    raise ConfigError(
        f"unknown key {prefix}{name}", wanted, f"did you mean {' or '.join(close)}?" if close else "remove it"
    )


def _convert(value: Any, hint: Any, key: str, base: Any = None) -> Any:
    """Converts the value to the type of the hint; a section merges onto its default, `base`."""
    origin = get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            _refuse(value, hint, key)
        return build(hint, value, base if isinstance(base, hint) else None, key)
    if origin in UNIONS:
        return _convert_union(value, hint, key, base)
    if origin is Literal:
        return _convert_literal(value, hint, key)
    if hint is tuple or origin is tuple:
        return _convert_tuple(value, hint, key)
    if hint in MAPPINGS or origin in MAPPINGS:
        return _convert_mapping(value, hint, key)
    if hint is Any:
        return _convert(value, tuple if isinstance(value, list) else type(value), key)
    return _convert_scalar(value, hint, key)


def _convert_scalar(value: Any, hint: Any, key: str) -> Any:
    if hint in (str, Path) and isinstance(value, str):
        return hint(_plain_text(expand(value, key), key))
    if hint is float and (type(value) is int or (isinstance(value, str) and _EXPONENT.fullmatch(value))):
        return _number(value, key)  # YAML 1.1 reads 1e-3 as text
    if type(value) is hint:  # not isinstance, which takes a bool for an int
        return value
    _refuse(value, hint, key)


def _plain_text(text: str, key: str) -> str:
    """Refuses what no path and no UTF-8 file can hold."""
    bad = next((one for one in text if one == "\0" or "\ud800" <= one <= "\udfff"), None)
    if bad is not None:
        raise ConfigError(f"{key}: {text!r} holds {bad!r}", "text without it", "remove it")
    return text


def _number(value: int | str, key: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{key}: a number of {len(str(value))} digits", "a float", "lower it") from error


def _convert_union(value: Any, hint: Any, key: str, base: Any) -> Any:
    arms = [arm for arm in get_args(hint) if arm is not type(None)]
    if value is None and len(arms) < len(get_args(hint)):
        return None
    if len(arms) == 1:
        return _convert(value, arms[0], key, base)
    for arm in arms:
        try:
            return _convert(value, arm, key, base)
        except ConfigError:
            continue
    _refuse(value, hint, key)


def _convert_literal(value: Any, hint: Any, key: str) -> Any:
    allowed = get_args(hint)
    if any(type(value) is type(one) and value == one for one in allowed):
        return value
    close = difflib.get_close_matches(str(value), [str(one) for one in allowed], 1)
    _refuse(value, hint, key, f"did you mean {close[0]}?" if close else "")


def _convert_tuple(value: Any, hint: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _refuse(value, hint, key, "write it as a list: [a, b]")
    kinds = get_args(hint) or (Any, ...)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        _refuse(value, hint, key, f"give {len(kinds)} values")
    return tuple(
        _convert(one, kind, f"{key}[{i}]") for i, (one, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _convert_mapping(value: Any, hint: Any, key: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        _refuse(value, hint, key)
    name_kind, entry_kind = get_args(hint) or (Any, Any)
    return {
        _convert(name, name_kind, f"{key} (its key {name!r})"): _convert(entry, entry_kind, f"{key}.{name}")
        for name, entry in value.items()
    }


def _refuse(value: Any, hint: Any, key: str, do: str = "") -> NoReturn:
    wants_text = hint is str or any(arm is str or isinstance(arm, str) for arm in get_args(hint))
    if not do and wants_text and value is not None and not isinstance(value, (str, dict, list)):
        do = "quote it: YAML reads bare yes, no, on, off, numbers and dates as other types than text"
    raise ConfigError(f"{key}: {value!r} ({type(value).__name__})", type_name(hint), do)
