"""What a config class says of itself: its settings, their types, defaults and documentation."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml

from tokmem.config.variables import escape

REQUIRED: Any = dataclasses.MISSING
"""Default of a setting that has none: the config file must give it."""

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
    """A field of a config.

    Args:
        default: the value where the file gives none; `REQUIRED` if it must.
        doc: one sentence for `--help` and the documentation, with unit and source where it has them.
    """
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: deepcopy(default), metadata={"doc": doc})
    return dataclasses.field(default=default, metadata={"doc": doc})


def dump_config(config: Any) -> str:
    """The resolved config as YAML; `load_config` of it gives an equal config."""
    return yaml.safe_dump(tree(config), sort_keys=False, allow_unicode=True)


class HelpRow(NamedTuple):
    """A setting as `--help` shows it: dotted key, type, default as YAML, and documentation."""

    key: str
    type: str
    default: str
    doc: str


def help_table(cls: type[Any]) -> list[HelpRow]:
    """Every setting of a config, sections unfolded, in the order of their fields."""
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
    """What the docstring of a config, or of a class that it extends, says of an attribute; maybe nothing."""
    for one in cls.__mro__:
        _, _, attributes = inspect.cleandoc(one.__doc__ or "").partition("\nAttributes:\n")
        found = re.search(rf"^    {name}: ((?:.|\n {{8}})*)", attributes, re.MULTILINE)
        if found:
            return " ".join(found[1].split()).removesuffix(".")
    return ""


def _section(hint: Any) -> Any:
    """The dataclass that a field holds, also where it may hold null instead; None where there is none."""
    arms = get_args(hint) if get_origin(hint) in UNIONS else (hint,)
    return next((arm for arm in arms if dataclasses.is_dataclass(arm)), None)


def _yaml_line(value: Any) -> str:
    text = yaml.safe_dump(tree(value), default_flow_style=True, allow_unicode=True, width=10_000)
    return text.strip().removesuffix("...").strip()


def settings(cls: type[Any]) -> list[tuple[dataclasses.Field[Any], Any]]:
    """The fields of a config and their resolved types."""
    hints = get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init]


def default_of(field: dataclasses.Field[Any], base: Any) -> Any:
    """The field's value in `base`, its own default where `base` is None; `REQUIRED` where it has none."""
    if base is not None:
        return getattr(base, field.name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def default_tree(cls: type[Any]) -> dict[str, Any]:
    """The defaults of a config in YAML's own types, settings that are required left out."""
    defaults = {field.name: default_of(field, None) for field, _ in settings(cls)}
    return {name: tree(value) for name, value in defaults.items() if value is not REQUIRED}


def tree(value: Any) -> Any:
    """The value in YAML's own types, such that loading gives it back."""
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
    """A type as the writer of a YAML file thinks of it."""
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
