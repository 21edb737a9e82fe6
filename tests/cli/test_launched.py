"""Commands in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.conftest import Cli
from tests.train.test_parallel import free_port
from tokmem.cli import launched
from tokmem.cli.shared import complain
from tokmem.errors import ConfigError, TokMemError

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


def launch(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in two processes."""
    line = [*TORCHRUN, "--master-port", free_port(), "-m", "tokmem", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, line)], check=False, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_torchrun_trains_the_bank_of_one_process(cli: Cli, model: Path, corpus: Path) -> None:
    """The bank is equal within 1e-4; the first process alone speaks."""
    words = ("train", "--corpus", corpus, "--model-name", model, "--prompt", "query", "--epochs", 2)
    assert cli(*words, "--out", "one").exit_code == 0
    done = launch(*words, "--out", "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Training:") == done.stdout.count("Bank:") == 1
    assert done.stderr.count("loading torch") == 1
    files = sorted(Path("one/banks").rglob("*.safetensors"))
    assert len(files) == 2, "rows and statistics"
    for path in files:
        own = load_file(Path("two", *path.parts[1:]))
        for name, tensor in load_file(path).items():
            torch.testing.assert_close(own[name], tensor, rtol=1e-4, atol=1e-4)
    again = launch(*words, "--out", "two")
    assert again.returncode != 0
    assert "two already holds a run" in again.stderr


@pytest.mark.slow
def test_torchrun_learns_a_prompt(cli: Cli, model: Path) -> None:
    Path("prompt.txt").write_text("Answer with the capital.")
    Path("queries.txt").write_text("".join(f"country number {n}\n" for n in range(12)))
    words = ("learn", "prompt.txt", "--queries", "queries.txt", "--epochs", 2, "--max-new-tokens", 4)
    words = (*words, "--backbone", model)
    assert cli(*words, "--bank", "one").exit_code == 0
    done = launch(*words, "--bank", "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Bank:") == 1
    one, two = (load_file(f"{name}/bank.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-4)


def test_a_command_of_one_process_refuses_several(
    cli: Cli, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = cli("bank", "list", bank)
    assert done.exit_code == 2
    assert "this command in 2 processes" in done.stderr


def test_the_error_of_another_process_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "3")
    complain(TokMemError("got"))
    monkeypatch.setenv("WORLD_SIZE", "4")
    complain(ConfigError("got"))
    assert capsys.readouterr().err == "error: got\nerror in process 3: got\n"
    assert launched.index() == 3


def test_one_process_decides_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched.from_first(lambda: "chosen") == "chosen"
