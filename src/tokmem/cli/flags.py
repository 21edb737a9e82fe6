"""Makes the options of commands from the settings of a track, so that no list of options is written by hand.

The module of a config class imports torch, which takes seconds. `--help` therefore reads `options.json`, a
copy of the settings' help. A test compares it with the classes; `python tools/write_options.py` writes it.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from tokmem.cli.published import ALIASES
from tokmem.config.settings import HelpRow
from tokmem.config.texts import yaml_text

TABLE = Path(__file__).with_name("options.json")
GIVEN = "tokmem.given"
# Names of options, the same in every command: the last part of the key, or the whole key if several sections
# share the last part. These keys have another name, which says more or is that of the published scripts.
NAMES = {
    "name": "experiment-name",
    "backbone.model_name": "backbone",
    "training.lr": "lr",
    "training.weight_decay": "weight-decay",
    "training.batch_size": "batch-size",
    "training.epochs": "epochs",
    "recall.batch_size": "eval-batch-size",
    "data.few_shot": "few-shot",
    "prompting.few_shot": "few-shot",
}
_PANELS = {"data": "Corpus", "lora": "LoRA", "": "Experiment"}


@dataclass(frozen=True, eq=False)
class Flags:
    """Which settings of a track a command has options for.

    Attributes:
        track: name of the track.
        keys: patterns of dotted keys, such as `data.*`.
        skip: keys that match and get no option.
        defaults: what `--help` shows as the default, by key, if the command changes it.
        docs: what `--help` says of a setting, by key, if it means something else here.
    """

    track: str
    keys: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    docs: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[HelpRow]:
        """Lists the settings that get an option."""
        return [
            row._replace(default=self.defaults.get(row.key, row.default), doc=self.docs.get(row.key, row.doc))
            for row in help_rows(self.track)
            if any(fnmatchcase(row.key, pattern) for pattern in self.keys) and row.key not in self.skip
        ]

    def options(self) -> dict[str, str]:
        """Maps each setting's key to its option, such as `--batch-size`."""
        keys = [row.key for row in self.rows()]
        names = {key: key if _leaf(key) in _shared_leaves() else _leaf(key) for key in keys} | NAMES
        return {key: "--" + names[key].replace("_", "-") for key in keys}

    def command(self) -> type[TyperCommand]:
        """Makes the class of a command that has these options before those of its own function.

        The function reads the given values in `given(ctx)`.
        """
        flags = self

        class FlagsCommand(TyperCommand):
            def get_params(self, ctx: Any) -> list[Any]:
                *own, help_option = super().get_params(ctx)
                return [*_click_options(flags), *own, help_option]

            def invoke(self, ctx: Any) -> Any:
                values = {row.key: (row, ctx.params.pop(_identifier(row.key))) for row in flags.rows()}
                ctx.meta[GIVEN] = {
                    key: yaml_text(row.type, value)
                    for key, (row, value) in values.items()
                    if value not in (None, (), [])
                }
                return super().invoke(ctx)

        return FlagsCommand


def given(ctx: typer.Context) -> dict[str, str]:
    """Reads the settings that the command line gave: YAML texts by dotted key."""
    return dict(ctx.meta[GIVEN])


def training_given(config: Any, settings: Mapping[str, str]) -> dict[str, Any]:
    """Picks the training settings that the user gave, by name. The track's config holds their values."""
    names = (key.removeprefix("training.") for key in settings if key.startswith("training."))
    return {name: getattr(config.training, name) for name in names}


def track_config(track: str, settings: Mapping[str, str], experiment: Path | None = None) -> Any:
    """Makes a track's config from an experiment file and YAML texts by dotted key.

    Raises:
        ConfigError: a setting does not exist or has a wrong value.
    """
    from tokmem.config import load_config
    from tokmem.tracks.registry import track as find_track

    overrides = [f"{key}={text}" for key, text in settings.items()]
    return load_config(find_track(track).config, experiment, overrides)


def normalizer(command: str) -> dict[str, Any]:
    """Lets a command take dashes for underscores and the published names for its own."""
    aliases = ALIASES.get(command, {})

    def main_name(option: str) -> str:
        dashed = option.replace("_", "-")
        return aliases.get(dashed, dashed)

    return {"token_normalize_func": main_name}


@cache
def help_rows(track: str) -> tuple[HelpRow, ...]:
    """Reads a track's settings from `options.json`."""
    return tuple(HelpRow(*row) for row in _table()[track])


@cache
def _table() -> Mapping[str, list[list[str]]]:
    read: dict[str, list[list[str]]] = json.loads(TABLE.read_text("utf-8"))
    return read


@cache
def _shared_leaves() -> frozenset[str]:
    """The last parts of keys that several sections of a track share."""
    counts = [Counter(_leaf(row[0]) for row in rows) for rows in _table().values()]
    return frozenset(leaf for one in counts for leaf, count in one.items() if count > 1)


@cache
def _click_options(flags: Flags) -> list[Any]:
    """Lets typer make the options: the parameters of a function with a fitting signature."""

    def stand_in() -> None: ...

    options = flags.options()
    parameters = [_parameter(row, options[row.key]) for row in flags.rows()]
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(stand_in)
    return list(typer.main.get_command(app).params)


def _parameter(row: HelpRow, flag: str) -> inspect.Parameter:
    yes_no, several = row.type == "bool", row.type.startswith("list")
    section = row.key.rpartition(".")[0]
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if yes_no else flag,
        metavar=None if yes_no else _metavar(row.type),
        help=_help(row, flag),
        rich_help_panel=_PANELS.get(section, section.capitalize()),
    )
    kind: Any = bool if yes_no else list[str] if several else str
    return inspect.Parameter(
        _identifier(row.key),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _help(row: HelpRow, flag: str) -> str:
    """Writes the help of an option: what it is, its values, its default, and its key if they differ."""
    doc = f"{row.doc[:1].upper()}{row.doc[1:]}".replace("``", "")
    values = [one.strip("' ") for one in row.type.removeprefix("list of ").split("|") if "'" in one]
    if not all(value in row.doc for value in values):
        doc += f": {', '.join(values)}"
    notes = [] if row.default in ("''", "[]", "null") else [f"default: {row.default}"]
    if flag != "--" + _leaf(row.key).replace("_", "-"):
        notes.append(f"key: {row.key}")
    doc += "" if doc.endswith(".") else "."
    return escape(f"{doc} [{'; '.join(notes)}]" if notes else doc)


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _identifier(key: str) -> str:
    return key.replace(".", "__")


def _metavar(kind: str) -> str:
    return "<a,b,...>" if "list" in kind else "<name>" if kind.startswith("'") else f"<{kind.split(' ')[0]}>"
