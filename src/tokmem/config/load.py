"""A config from its defaults, a YAML file and overrides."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tokmem.config.convert import build
from tokmem.config.settings import default_tree
from tokmem.errors import ConfigError

T = TypeVar("T")


def load_config(cls: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """A config from its defaults, a YAML file on top, and overrides on top of that.

    Sections merge key by key; a list or a mapping of the file replaces the default's as a whole. In texts and
    paths `${NAME}` is the environment variable NAME, and `$${NAME}` stands for `${NAME}` itself.

    Args:
        cls: the frozen dataclass to fill.
        path: YAML file; None for defaults and overrides alone.
        overrides: `dotted.key=value`, the value read as YAML; sets one entry of a mapping, too.

    Raises:
        ConfigError: a file that cannot be read, an unknown or missing key, a wrong type, an unset variable.
    """
    raw = {} if path is None else _read(path)
    for override in overrides:
        _apply(raw, default_tree(cls), override)
    return build(cls, raw, None, "")


class _StrictLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key.value!r} twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        problem = " ".join(str(error).split())
        raise ConfigError(
            f"{source} cannot be read: {problem}", "valid YAML", "mend or quote the value"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read config {path}: {error}", "a YAML file", "check the path") from error
    raw = _parse(text, str(path))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} holds a {type(raw).__name__}", "a mapping of settings", "write `key: value` lines"
        )
    return raw


def _apply(raw: dict[str, Any], defaults: Mapping[str, Any], override: str) -> None:
    """Sets one override in what was read; a section that only the defaults hold is copied from them first."""
    dotted, equals, text = override.partition("=")
    *parents, leaf = dotted.strip().split(".")
    if not equals or not all((*parents, leaf)):
        raise ConfigError(f"override {override!r}", "`dotted.key=value`", "for example `--set train.lr=5e-3`")
    for name in parents:
        below = defaults.get(name)
        defaults = below if isinstance(below, Mapping) else {}
        if raw.get(name) is None:
            raw[name] = deepcopy(dict(defaults))
        raw = raw[name]
        if not isinstance(raw, dict):
            raise ConfigError(
                f"override {override!r}: {name} is {raw!r}", "a section", "set the whole of it instead"
            )
    raw[leaf] = _parse(text, f"override {override!r}")
