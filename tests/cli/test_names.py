"""One name for one thing: a setting has one option in every command, and an option means one thing in all."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group

from tests.cli.conftest import Cli
from tokmem.cli import bank, data, evaluate, export, learn, recall, serve, tools, train, ui
from tokmem.cli.flags import Flags
from tokmem.cli.main import app
from tokmem.cli.published import ALIASES

FLAGS: dict[str, Flags] = {
    "train": train.FLAGS,
    "learn": learn.FLAGS,
    "tools": tools.FLAGS,
    "eval": evaluate.FLAGS,
    "recall": recall.FLAGS,
    "ui": ui.FLAGS,
    "serve": serve.FLAGS,
    "export": export.FLAGS,
    "data compose": data.FLAGS,
    "bank add": bank.FLAGS,
    "bank compose": bank.COMPOSE_FLAGS,
}
# Options that several commands take beside their settings, and what each means in all of them.
MEANINGS = {
    "--bank": "folder of the bank",
    "--check": "whether an export is loaded and compared",
    "--dry-run": "say what would be done, and do nothing",
    "--examples": "JSON lines of examples to train on",
    "--gguf": "the GGUF file that a backbone comes from",
    "--json": "print JSON",
    "--neighbours": "how many of the nearest others to show",
    "--out": "folder that the command writes",
    "--port": "port of this machine to listen at",
    "--prompt": "what a prompt holds",
    "--queries": "file of queries",
    "--resume": "go on with the run in --out",
    "--set": "change a setting of the experiment",
    "--workers": "number of processes",
}
# Options that stand for several keys, with what they all mean.
ALIKE = {
    "--backbone": "`demo` takes a backbone, and no other setting as an option",
    "--few-shot": "demonstrations before a query: in section `data` of one track, `prompting` of the other",
    "--max-new-tokens": "most tokens of a response: of an answer, and of the teacher's in `learn`",
    "--retriever": "section `demonstrations` in one track, `prompting` in the other",
    "--retrieval-k": "section `demonstrations` in one track, `prompting` in the other",
}


def commands() -> dict[str, Any]:
    """Every command, by its words."""
    groups = [
        ("", app),
        *((f"{group.typer_instance.info.name} ", group.typer_instance) for group in app.registered_groups),
    ]
    found = {f"{prefix}{name}": one for prefix, g in groups for name, one in get_group(g).commands.items()}
    return {name: one for name, one in found.items() if not hasattr(one, "commands")}


def own_options() -> dict[str, list[Any]]:
    """The options of each command that its function lists, which are no settings of a track."""
    return {
        name: [one for one in command.params if one.param_type_name == "option"]
        for name, command in commands().items()
    }


def test_the_flags_are_those_of_every_command() -> None:
    having = {
        name
        for name, command in commands().items()
        if any(kind.__name__ == "FlagsCommand" for kind in type(command).__mro__)
    }
    assert set(FLAGS) == having


def test_a_setting_has_the_same_option_in_every_command() -> None:
    spellings = defaultdict(set)
    for flags in FLAGS.values():
        for key, option in flags.options().items():
            spellings[key].add(option)
    assert {key: found for key, found in spellings.items() if len(found) > 1} == {}


def test_an_option_means_one_thing_in_every_command() -> None:
    keys, commands = defaultdict(set), defaultdict(set)
    for command, flags in FLAGS.items():
        for key, option in flags.options().items():
            keys[option].add(key)
            commands[option].add(command)
    for command, options in own_options().items():
        for option in (name for one in options for name in one.opts if name.startswith("--")):
            keys[option].add(MEANINGS.get(option, f"of {command}"))
            commands[option].add(command)
    several = {option for option, found in keys.items() if len(found) > 1}
    assert several == set(ALIKE), {option: keys[option] for option in several ^ set(ALIKE)}
    assert set(MEANINGS) <= set(commands)


def test_a_hidden_name_stands_for_no_option_that_the_command_has() -> None:
    for command, options in own_options().items():
        names = {name for one in options for name in one.opts}
        names |= set(FLAGS[command].options().values()) if command in FLAGS else set()
        hidden = {f"--{name}" for name in ALIASES.get(command, {})}
        assert not hidden & names, command


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("recall", "q", "--url", "http://localhost:9", "--batch-size", "2"), "--eval-batch-size beside"),
        (("recall", "q", "--url", "http://localhost:9", "--seed", "2"), "--recall.seed beside"),
        (("recall", "--bank", "b", "--file", "none.txt"), "none.txt"),
        (("bank", "add", "b", "--file", "none.jsonl"), "none.jsonl"),
        (("bank", "add", "b", "--name", "x", "--file", "some.jsonl"), "--procedures"),
        (("bank", "compose", "b", "x", "--examples", "some.jsonl", "--seed", "x"), "b/bank.json"),
        (("data", "compose", "--source", "none.json"), "none.json"),
        (("data", "compose", "--seed", "x"), "data.seed"),
        (("tools", "--name", "x", "--schedule", "x"), "training.schedule"),
        (("learn", "text.txt", "--bank", "b", "--top-k", "0"), "top_k"),
    ],
)
def test_names_of_earlier_versions_still_work(cli: Cli, words: tuple[str, ...], option: str) -> None:
    Path("some.jsonl").touch()
    Path("b").mkdir()
    Path("b/bank.json").touch()
    done = cli(*words)
    assert done.exit_code == 2
    assert option in done.stderr
    assert "no such option" not in done.stderr.lower()
