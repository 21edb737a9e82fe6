"""A run that is killed in the middle of a stage, and resumed, ends as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.tracks.killed_run import CONFIG, main
from tokmem.tracks.atomic import AtomicConfig

TIMED = ("train_seconds", "adaptation_seconds", "queries_per_second")
SAVED = {"tokmem": "banks", "lora": "learned", "replay": "learned"}


def start(folder: Path, config: AtomicConfig) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tracks.killed_run"])
    process = context.Process(target=main, args=(folder, config))
    process.start()
    return process


def kill_in_the_second_stage(folder: Path, config: AtomicConfig) -> None:
    """Kills the run once the second stage's third checkpoint is written."""
    process = start(folder, config)
    states = folder / "checkpoints"
    try:
        while True:
            assert process.is_alive(), "ended before it could be killed"
            found = list(states.glob("*-4/state.json"))
            if found and json.loads(found[0].read_text())["progress"]["step"] >= 3:
                return
            time.sleep(0.005)
    finally:
        process.kill()
        process.join()


@pytest.mark.skipif(sys.platform == "win32", reason="a program is killed here as POSIX does it")
@pytest.mark.parametrize("method", ["tokmem", "lora", "replay"])
def test_a_run_killed_in_a_stage_ends_the_same(method: str, tmp_path: Path) -> None:
    if method != "tokmem":
        pytest.importorskip("peft")
    config = replace(CONFIG, methods=(method,))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
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
    name = f"{SAVED[method]}/{method}-query-0"
    weights = sorted(p.name for p in (whole / name).glob("*.safetensors"))
    assert weights
    for file in weights:
        assert (whole / name / file).read_bytes() == (broken / name / file).read_bytes(), file
