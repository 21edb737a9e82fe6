"""The example at the end of each command's `--help` works; here with less data, on `mini`."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tokmem.cli.main import app

ROOT = Path(__file__).parents[2]
DEMO = (
    "data.train_size=2",
    "data.val_size=1",
    "data.test_size=1",
    "recall.max_new_tokens=3",
    "training.epochs=1",
)
SET_DEMO = [part for one in DEMO for part in ("--set", one)]
SMALL = ["--train-size", "4", "--val-size", "2", "--test-size", "2"]
# What makes an example cheap. An example that is not here runs as it stands.
CHEAPER = {
    "demo": [*SET_DEMO, "--set", "backbone.model_name=mini", "--workers", "1"],
    "run": [*SET_DEMO, "--set", "methods=[tokmem]", "--set", "backbone.model_name=mini"],
    "learn": ["--max-new-tokens", "2", "--epochs", "1", "--yes", "--backbone", "mini"],
    "train": [*SMALL, "--max-new-tokens", "2", "--backbone", "mini"],
    "tools": [
        *SMALL,
        "--train-size",
        "60",
        "--samples-per-tool",
        "16",
        "--max-new-tokens",
        "2",
        "--train-max-calls",
        "1",
        "--backbone",
        "mini",
    ],
    "eval": ["--max-new-tokens", "2", "--test-size", "1"],
    "recall": ["--max-new-tokens", "2"],
}
# In an order in which each finds what it reads. `backbone remove` is left out (it needs a cached
# backbone), and so are `serve` and `ui`, which run until they are stopped.
COMMANDS = (
    *(
        "demo",
        "init",
        "recall",
        "eval",
        "train",
        "learn",
        "tools",
        "run",
        "report",
        "data compose",
        "analyze",
        "export",
        "doctor",
    ),
    *(f"bank {name}" for name in ("list", "show", "add", "remove", "rename", "slice", "merge")),
    *(f"backbone {name}" for name in ("list", "get", "path")),
)


def examples() -> dict[str, str]:
    """The example of each command, by its words."""
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    return {
        f"{prefix}{command.name}": (command.epilog or "").removeprefix("Example: tokmem ")
        for prefix, group in groups
        for command in group.registered_commands
    }


def test_every_command_has_an_example_of_itself() -> None:
    found = examples()
    assert set(found) == {*COMMANDS, "backbone remove", "serve", "ui"}
    for command, example in found.items():
        assert example.startswith(command), (command, example)


def test_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("experiments").symlink_to(ROOT / "experiments")
    Path("prompt.txt").write_text("Write the text in capital letters.", "utf-8")
    Path("queries.txt").write_text("tea\nrice\nblue lamp\nold bridge\n", "utf-8")
    found = examples()
    for command in COMMANDS:
        words = shlex.split(found[command]) + CHEAPER.get(command, [])
        done = CliRunner().invoke(app, ["-q", *words])
        assert done.exit_code == 0, f"tokmem {shlex.join(words)}\n{done.output}"
        assert done.stdout.strip(), command
