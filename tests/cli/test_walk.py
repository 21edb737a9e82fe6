"""The walk that CONTRIBUTING.md describes is the one that `tokmem run` takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli
from tokmem.model.layers import MemoryHead

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/tokmem"
STEP = re.compile(r"^\| \d+ \| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)


def described() -> list[tuple[str, list[str]]]:
    """File and functions of each step."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    return [(file, re.findall(r"`([^`]+)`", functions)) for file, functions in STEP.findall(text)]


def in_order(files: list[str], stack: list[str]) -> bool:
    rest = iter(stack)
    return all(file in rest for file in files)


def test_a_run_takes_the_steps_of_the_walk(
    cli: Cli, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()
    stacks: list[list[str]] = []
    memory = MemoryHead.memory

    def seen(self: MemoryHead, *args: object) -> object:
        frame, files = sys._getframe(), []
        while frame := frame.f_back:  # type: ignore[assignment]
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(SOURCE):
                called.add(frame.f_code.co_name)
                files.append(path.relative_to(SOURCE).as_posix())
        stacks.append(files[::-1])
        return memory(self, *args)

    monkeypatch.setattr(MemoryHead, "memory", seen)
    experiment = {
        "data": {"source": "jsonl", "corpus": str(corpus)},
        "backbone": {"model_name": str(model)},
        "methods": ["tokmem"],
        "recall": {"max_new_tokens": 4},
    }
    Path("walk.yaml").write_text(yaml.safe_dump(experiment))
    done = cli("run", "walk.yaml", "--out", "walk")
    assert done.exit_code == 0, done.output

    steps = described()
    assert 8 <= len(steps) <= 12
    files = [file for file, _ in steps]
    assert files[-1] == "model/layers.py"
    assert any(in_order(files[:-1], stack) for stack in stacks)
    names = {name.rpartition(".")[2] for _, functions in steps[:-1] for name in functions}
    assert names - {"next"} <= called
