"""Command-line options made from a config's settings, so that no list of them is written twice.

They are made when a command first asks for them: the config's module is slow to import, and `--help` is not.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from tokmem.config.settings import HelpRow, help_table

SETTINGS = "tokmem.settings"


class FlagsCommand(TyperCommand):
    """A command with an option for each setting of a config, after those of its own function.

    What was given for them lies in `ctx.meta[SETTINGS]`, as `overrides` reads it.
    """

    @classmethod
    def options(cls) -> list[inspect.Parameter]:
        """An option a setting, from `flags`."""
        raise NotImplementedError

    def get_params(self, ctx: Any) -> list[Any]:
        """The function's own, the settings', and `--help`."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_click_options(type(self)), help_option]

    def invoke(self, ctx: Any) -> Any:
        """Calls the function with its own options alone."""
        ctx.meta[SETTINGS] = {o.name: ctx.params.pop(o.name) for o in _click_options(type(self))}
        return super().invoke(ctx)


@lru_cache
def _click_options(command: type[FlagsCommand]) -> list[Any]:
    def stand_in() -> None: ...

    stand_in.__signature__ = inspect.Signature(command.options())  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(stand_in)
    return list(typer.main.get_command(app).params)


def flags(config: type[Any], names: Mapping[str, str], skip: Sequence[str]) -> list[inspect.Parameter]:
    """One option for each setting, for the signature of a command.

    Args:
        config: its settings are read from YAML and from these options alike.
        names: options of settings whose own name will not do, by dotted key. Else an option is called as
            its setting; where several sections have one of that name, by its dotted key.
        skip: dotted keys without an option.
    """
    rows = [row for row in help_table(config) if row.key not in skip and row.type != "section"]
    common = Counter(_leaf(row.key) for row in rows)
    return [
        _parameter(row, names.get(row.key) or (_leaf(row.key) if common[_leaf(row.key)] == 1 else row.key))
        for row in rows
    ]


def overrides(config: type[Any], given: Mapping[str, Any]) -> list[str]:
    """What `load_config` takes, from the values that a command got for `flags`; None was not given."""
    rows = {_identifier(row.key): row for row in help_table(config)}
    chosen = [(rows[name], value) for name, value in given.items() if name in rows and value is not None]
    return [f"{row.key}={_yaml(row.type, value)}" for row, value in chosen]


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _identifier(key: str) -> str:
    return key.replace(".", "__")


def _parameter(row: HelpRow, name: str) -> inspect.Parameter:
    flag = "--" + name.replace("_", "-")
    section, _, _ = row.key.rpartition(".")
    yes_no = row.type == "bool"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if yes_no else flag,
        metavar=None if yes_no else _metavar(row.type),
        help=escape(f"{row.doc[:1].upper()}{row.doc[1:]} ({row.default}). Key: {row.key}"),
        rich_help_panel=section.capitalize() or "Experiment",
        show_default=False,
    )
    kind: Any = Annotated[bool | None if yes_no else str | None, option]
    return inspect.Parameter(
        _identifier(row.key), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
    )


def _metavar(kind: str) -> str:
    return "A,B,..." if "list" in kind else "NAME" if kind.startswith("'") else kind.split(" ")[0].upper()


def _yaml(kind: str, value: str | bool) -> str:
    """The value as YAML of the setting's type: text is quoted, several values are a list."""
    if isinstance(value, bool):
        return json.dumps(value)
    if "list" in kind and value.startswith("["):
        return value  # YAML itself, where a text holds a comma
    text = "str" in kind or "'" in kind
    parts = [json.dumps(part.strip()) if text else part.strip() for part in value.split(",")]
    if kind.startswith("list"):
        return f"[{', '.join(parts)}]" if value else "[]"
    if "list" in kind and len(parts) > 1:
        return f"[{', '.join(parts)}]"
    return json.dumps(value) if text and value != "null" else value
