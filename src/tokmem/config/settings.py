"""Config classes: their settings with types, defaults and documentation; every value's type is checked."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml

from tokmem.config.variables import escape
from tokmem.errors import ConfigError

REQUIRED: Any = dataclasses.MISSING
"""Marks a setting without a default: the config file must give its value."""

UNIONS = (Union, types.UnionType)
MAPPINGS = (dict, Mapping)
_NAMES = {
    type(None): "null",
    Any: "anything",
    Path: "path",
    dict: "mapping",
    Mapping: "mapping",
    tuple: "list",
}


def setting(default: Any = REQUIRED, doc: str = "") -> Any:
    """Makes a field of a config.

    Args:
        default: the value if the file gives none; `REQUIRED` if the file must give one.
        doc: one sentence for `--help` and the documentation, with unit and source if there are any.
    """
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: deepcopy(default), metadata={"doc": doc})
    return dataclasses.field(default=default, metadata={"doc": doc})


class Config:
    """Base of config dataclasses: a config checks the types of its values when it is made.

    The type check runs before the subclass's own `__post_init__`, which may then rely on the types.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_ranges = cls.__dict__.get("__post_init__")
        if check_ranges is None:
            return

        @functools.wraps(check_ranges)
        def check(self: Config) -> None:
            check_types(self)
            check_ranges(self)

        cls.__post_init__ = check  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        check_types(self)


def check_types(config: Any) -> None:
    """Refuses a value whose type is not that of its field.

    An int may stand for a float. A bool is no number, and a list is no tuple.

    Raises:
        ConfigError: a value has the wrong type; names class, field, value and type.
    """
    for field, hint in settings(type(config)):
        value = getattr(config, field.name)
        if not _fits(value, hint):
            got = f"{type(config).__name__}: {field.name} {value!r} ({type(value).__name__})"
            raise ConfigError(got, type_name(hint))


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in UNIONS:
        return any(_fits(value, arm) for arm in args)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if origin is tuple:
        return isinstance(value, tuple) and _fits_each(value, args)
    if origin in MAPPINGS:
        return isinstance(value, Mapping) and all(_fits_each(pair, args) for pair in value.items())
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint)


def _fits_each(values: tuple[Any, ...], kinds: tuple[Any, ...]) -> bool:
    if kinds[-1] is ...:
        return all(_fits(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(map(_fits, values, kinds))


def same_as(config: type[Any], name: str, doc: str = "") -> Any:
    """A field with another config's default, and with its documentation unless `doc` is given."""
    (field,) = (one for one in dataclasses.fields(config) if one.name == name)
    return setting(field.default, doc or field.metadata["doc"])


def dump_config(config: Any) -> str:
    """Writes the resolved config as YAML; `load_config` reads it back to an equal config."""
    return yaml.safe_dump(tree(config), sort_keys=False, allow_unicode=True)


class HelpRow(NamedTuple):
    """One setting for `--help`: its dotted key, type, default as YAML, and documentation."""

    key: str
    type: str
    default: str
    doc: str


def help_table(cls: type[Any]) -> list[HelpRow]:
    """Lists every setting of a config and of its sections, in the order of the fields."""
    return list(_help_rows(cls, None, ""))


def _help_rows(cls: type[Any], base: Any, prefix: str) -> Iterator[HelpRow]:
    for field, hint in settings(cls):
        key, default, section = prefix + field.name, default_of(field, base), _section(hint)
        if section is not hint:
            shown = "required" if default is REQUIRED else _yaml_line(default)
            yield HelpRow(
                key, type_name(hint), shown, field.metadata.get("doc") or attribute_doc(cls, field.name)
            )
        if section is not None:
            yield from _help_rows(section, default if isinstance(default, section) else None, f"{key}.")


def attribute_doc(cls: type[Any], name: str) -> str:
    """Finds what the docstring of a config, or of a base class, says about an attribute; empty if nothing."""
    for one in cls.__mro__:
        _, _, attributes = inspect.cleandoc(one.__doc__ or "").partition("\nAttributes:\n")
        found = re.search(rf"^    {name}: ((?:.|\n {{8}})*)", attributes, re.MULTILINE)
        if found:
            return " ".join(found[1].split()).removesuffix(".")
    return ""


def _section(hint: Any) -> Any:
    """Finds the dataclass in a hint (`Section` or `Section | None`); None if there is none."""
    arms = get_args(hint) if get_origin(hint) in UNIONS else (hint,)
    return next((arm for arm in arms if dataclasses.is_dataclass(arm)), None)


def _yaml_line(value: Any) -> str:
    text = yaml.safe_dump(tree(value), default_flow_style=True, allow_unicode=True, width=10_000)
    return text.strip().removesuffix("...").strip()


def settings(cls: type[Any]) -> list[tuple[dataclasses.Field[Any], Any]]:
    """Lists the fields of a config with their resolved types."""
    hints = get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init]


def default_of(field: dataclasses.Field[Any], base: Any) -> Any:
    """Reads the field's value in `base`, or its own default if `base` is None; `REQUIRED` if it has none."""
    if base is not None:
        return getattr(base, field.name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def default_tree(cls: type[Any]) -> dict[str, Any]:
    """Gives the defaults of a config in YAML's own types, without required settings."""
    defaults = {field.name: default_of(field, None) for field, _ in settings(cls)}
    return {name: tree(value) for name, value in defaults.items() if value is not REQUIRED}


def tree(value: Any) -> Any:
    """Converts a value to YAML's own types, so that loading restores it."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: tree(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init
        }
    if isinstance(value, Mapping):
        return {key: tree(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [tree(entry) for entry in value]
    if isinstance(value, (str, Path)):
        return escape(str(value))
    return value


def type_name(hint: Any) -> str:
    """Names a type in the words of a YAML file."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _NAMES:
        return _NAMES[hint]
    if origin is Literal:
        return " | ".join(repr(one) for one in args)
    if origin in UNIONS:
        return " | ".join(type_name(arm) for arm in args)
    if origin is tuple:
        kinds = [type_name(arm) for arm in args if arm is not ...]
        return f"list of {kinds[0]}" if args[-1] is ... else f"list [{', '.join(kinds)}]"
    if origin in MAPPINGS:
        return f"mapping of {type_name(args[0])} to {type_name(args[1])}"
    return "section" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", str(hint))
