"""From an empty folder: `tokmem init`, `tokmem train`, `tokmem recall`, `tokmem run`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.cli.conftest import Cli
from tests.cli.test_mistakes import refused

MINI = ("--backbone", "mini", "--max-new-tokens", 4)


def said(output: str, label: str) -> list[str]:
    """The command after a label, without the program."""
    words = shlex.split(re.search(rf"^{label}: +(.*)$", output, re.MULTILINE)[1])
    return words[words.index("train" if label == "Learn" else "recall") :]


def test_the_next_two_commands_work_as_init_says_them(cli: Cli) -> None:
    begun = cli("init", "my first")
    assert begun.exit_code == 0, begun.output
    done = cli(*said(begun.stdout, "Learn"), *MINI, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert "2 passes over the 12 examples of each procedure" in " ".join(done.stdout.split())
    assert [line.split("│")[1:3] for line in done.stdout.splitlines() if "ticket_topic" in line]
    recalled = cli(*said(begun.stdout, "Recall"), "--max-new-tokens", 4)
    assert recalled.exit_code == 0, recalled.output
    again = cli(*said(done.stdout, "Try"), "--max-new-tokens", 4)
    assert again.exit_code == 0, again.output


def test_bare_commands_take_what_is_here(cli: Cli) -> None:
    assert cli("init").exit_code == 0
    done = cli("train", *MINI, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert "Corpus: my.jsonl" in done.stdout
    assert "the answers are hardly ever right" in " ".join(done.stderr.split())
    refused(
        cli("recall"), "neither a bank nor --url", "tokmem recall runs/train/banks/tokmem_dc-query-0 QUERY"
    )


def test_the_experiment_runs(cli: Cli) -> None:
    assert cli("init", "my first").exit_code == 0
    changes = ("backbone.model_name=mini", "training.epochs=1", "recall.max_new_tokens=2", "methods=[tokmem]")
    done = cli("run", "my first/experiment.yaml", *(part for one in changes for part in ("--set", one)))
    assert done.exit_code == 0, done.output
    examples = json.loads(Path("runs/experiment/summary.json").read_text())["examples"]
    assert examples == {"train": 36, "validation": 6, "test": 6}


def test_init_never_overwrites(cli: Cli) -> None:
    Path("experiment.yaml").write_text("mine")
    refused(cli("init"), "experiment.yaml exists already", "name another folder")
    assert sorted(path.name for path in Path().iterdir()) == ["experiment.yaml"]
    assert Path("experiment.yaml").read_text() == "mine"
    refused(cli("init", "experiment.yaml"), "is a file")
