"""Reads a config from its defaults, a YAML file and overrides."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from tokmem.config.convert import build
from tokmem.config.settings import default_tree
from tokmem.errors import ConfigError

T = TypeVar("T")

MAX_DEPTH = 32
"""Levels of nesting that a YAML text may have; no config has more than four."""


def load_config(cls: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Makes a config: the overrides replace values of the YAML file, and the file replaces defaults.

    Sections merge key by key. A list or a mapping in the file replaces the whole default. In texts and paths
    `${NAME}` is the environment variable NAME; `$${NAME}` stands for `${NAME}` itself.

    Args:
        cls: the frozen dataclass to fill.
        path: the YAML file; None uses defaults and overrides alone.
        overrides: `dotted.key=value` texts; the value is YAML. A key may also name one entry of a mapping.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or missing, a value has the wrong type, or a
            variable is unset.
    """
    raw = {} if path is None else read_settings(path)
    for override in overrides:
        _apply(raw, default_tree(cls), override)
    return build(cls, raw, None, "")


class _StrictLoader(yaml.SafeLoader):
    """Reads plain data only. PyYAML itself keeps the last of two equal keys and recurses without a limit."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            _refuse("an anchor or alias; write the value out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            _refuse(f"the tag {event.tag}; write a plain value", event.start_mark)
        if self._depth == MAX_DEPTH:
            _refuse(f"more than {MAX_DEPTH} levels of nesting", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<":
                key = self.construct_object(key_node)
                if key in seen:
                    _refuse(f"key {key!r} twice", key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def _refuse(problem: str, mark: yaml.Mark) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def parse_yaml(text: str, source: str) -> Any:
    """Parses YAML that holds plain data: no tags, no anchors, no key twice, at most 32 levels of nesting.

    Args:
        text: the YAML.
        source: names the text in errors, such as the path of its file.

    Raises:
        ConfigError: the text is not such YAML.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        problem = " ".join(str(error).split())
        raise ConfigError(
            f"{source} cannot be read: {problem}", "valid YAML", "correct or quote the value"
        ) from error


def read_settings(path: Path) -> dict[str, Any]:
    """Reads the settings of an experiment file, without checking them against a config class.

    Raises:
        ConfigError: the file cannot be read, is empty, or holds no mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error}", "a YAML file", "check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8", "a text file", "save it as UTF-8") from error
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict) or not raw:
        got = f"{path} is empty" if not raw else f"{path} holds a {type(raw).__name__}"
        raise ConfigError(got, "a mapping of settings", "write `key: value` lines")
    return raw


def _apply(raw: dict[str, Any], defaults: Mapping[str, Any], override: str) -> None:
    """Sets one override in `raw`; copies a section from the defaults first if `raw` lacks it."""
    dotted, equals, text = override.partition("=")
    *parents, leaf = dotted.strip().split(".")
    if not equals or not all((*parents, leaf)):
        raise ConfigError(
            f"override {override!r}", "`dotted.key=value`", "for example `--set training.lr=5e-3`"
        )
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
    raw[leaf] = parse_yaml(text, f"override {override!r}")
