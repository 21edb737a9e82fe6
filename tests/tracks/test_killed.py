"""A run that is killed within a stage or round and resumed ends like an undisturbed one."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.forked import forked
from tests.tracks.killed_run import CONFIG, IN_ROUNDS, main
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.compositional.config import CompositionalConfig

TIMED = ("train_seconds", "adaptation_seconds", "queries_per_second")
Config = AtomicConfig | CompositionalConfig
SAVED = {"tokmem": "banks", "lora": "learned", "replay": "learned"}


def start(folder: Path, config: Config, *, slow: bool = False) -> BaseProcess:
    process = forked().Process(target=main, args=(folder, config, slow))
    process.start()
    return process


def step_of(state: Path) -> int:
    """The step of a checkpoint; 0 while its folder is being replaced."""
    try:
        return int(json.loads(state.read_text())["progress"]["step"])
    except FileNotFoundError:
        return 0


def kill_in_the_second_stage(folder: Path, config: Config) -> None:
    """Kills the run once the third checkpoint of the second stage, or round, is written."""
    second = "*-4/state.json" if isinstance(config, AtomicConfig) else "*-round2/state.json"
    process = start(folder, config, slow=True)
    states = folder / "checkpoints"
    try:
        while True:
            assert process.is_alive(), "ended before it could be killed"
            if any(step_of(state) >= 3 for state in states.glob(second)):
                return
            time.sleep(0.005)
    finally:
        process.kill()
        process.join()


def same_end(folders: tuple[Path, Path], config: Config, learned: str) -> None:
    """One run to its end, one that is killed and started again: equal scores, equal weights."""
    whole, broken = folders
    reference = start(whole, config)
    kill_in_the_second_stage(broken, config)
    assert not (broken / "summary.json").exists()
    again = start(broken, config)
    for process in (again, reference):
        process.join()
        assert process.exitcode == 0
    rows = [json.loads((folder / "summary.json").read_text())["rows"] for folder in (whole, broken)]
    for row, other in zip(*rows, strict=True):
        assert {k: v for k, v in row.items() if k not in TIMED} == {
            k: v for k, v in other.items() if k not in TIMED
        }
    weights = sorted(p.name for p in (whole / learned).glob("*.safetensors"))
    assert weights
    for file in weights:
        assert (whole / learned / file).read_bytes() == (broken / learned / file).read_bytes(), file


@pytest.mark.skipif(sys.platform == "win32", reason="a program is killed here as POSIX does it")
@pytest.mark.parametrize("method", ["tokmem", "lora", "replay"])
def test_a_run_killed_in_a_stage_ends_the_same(method: str, tmp_path: Path) -> None:
    if method != "tokmem":
        pytest.importorskip("peft")
    config = replace(CONFIG, methods=(method,))
    same_end((tmp_path / "whole", tmp_path / "broken"), config, f"{SAVED[method]}/{method}-query-0")


@pytest.mark.skipif(sys.platform == "win32", reason="a program is killed here as POSIX does it")
@pytest.mark.parametrize("method", ["tokmem_dc+adaptation=auxiliary", "replay"])
def test_a_run_killed_in_a_round_ends_the_same(method: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    saved = SAVED[method.partition("_")[0]]
    config = replace(IN_ROUNDS, methods=(method,))
    same_end((tmp_path / "whole", tmp_path / "broken"), config, f"{saved}/{method}-0")
