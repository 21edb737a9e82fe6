from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.forked import forked
from tests.tiny import tiny_examples, tiny_lm
from tests.train.lines import learned
from tests.train.resume_run import main
from tests.train.shared import fit_bank
from tokmem.errors import TokMemError, TrainingError
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.settings import FitReport, FitSettings

EPOCH, STEPS = 6, 18


def start(folder: Path) -> BaseProcess:
    process = forked().Process(target=main, args=(folder,))
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    process.join()
    assert process.exitcode == 0


def step_of(folder: Path) -> int:
    """Steps in the checkpoint, 0 while there is none."""
    try:
        return int(json.loads((folder / "checkpoint" / "state.json").read_text())["progress"]["step"])
    except FileNotFoundError:
        return 0


def written_step(folder: Path) -> int:
    """Step of the last whole line of metrics."""
    whole = (folder / "metrics.jsonl").read_text().rpartition("\n")[0]
    return int(json.loads(whole.splitlines()[-1])["step"])


def kill_after(folder: Path, step: int) -> None:
    """Starts a run and kills it in a later step than `step`, between its metrics and its checkpoint."""
    process = start(folder)
    try:
        while step_of(folder) < step or written_step(folder) <= step_of(folder):
            assert process.is_alive(), "ended before it could be killed"
            time.sleep(0.005)
    finally:
        process.kill()
        process.join()


@pytest.mark.skipif(sys.platform == "win32", reason="a program is killed here as POSIX does it")
def test_a_killed_run_ends_with_the_same_bank(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    reference = start(whole)
    kill_after(broken, random.randint(EPOCH + 1, 2 * EPOCH))
    assert EPOCH < step_of(broken) < STEPS
    assert not (broken / "bank").exists()
    finish(start(broken))
    finish(reference)
    for name in ("bank/bank.safetensors", "bank/bank.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    assert learned(broken / "metrics.jsonl") == learned(whole / "metrics.jsonl")


SETTINGS = FitSettings(lr=0.02, checkpoint_every=1)


def run(
    folder: Path,
    lm: MemoryLM,
    settings: FitSettings = SETTINGS,
    examples: list[Encoded] | None = None,
    held: int = 0,
) -> FitReport:
    given = examples or tiny_examples(lm.bank, 6)
    return fit_bank(
        lm, given, settings, checkpoint=folder / "run", validation=tiny_examples(lm.bank, held, seed=2)
    )


def test_a_finished_run_is_taken_up_as_it_ended(tmp_path: Path) -> None:
    first, second = tiny_lm("llama"), tiny_lm("llama")
    settings = replace(SETTINGS, lr=0.5, epochs=4, validate_every=1)
    report = run(tmp_path, first, settings, held=4)
    assert report.best_step < report.steps
    again = run(tmp_path, second, settings, held=4)
    assert torch.equal(first.bank.steering.rows(), second.bank.steering.rows())
    assert (again.steps, again.loss, again.supervised_tokens) == (
        report.steps,
        report.loss,
        report.supervised_tokens,
    )


def other_data(folder: Path) -> None:
    lm = tiny_lm("llama")
    run(folder, lm, examples=tiny_examples(lm.bank, 6, seed=5))


def moved_split(folder: Path) -> None:
    """The same examples, one of them for validation instead."""
    lm = tiny_lm("llama")
    examples = tiny_examples(lm.bank, 6)
    fit_bank(lm, examples[:5], SETTINGS, validation=examples[5:], checkpoint=folder / "run")


def other_weights(folder: Path) -> None:
    lm = tiny_lm("llama")
    with torch.no_grad():
        lm.model.lm_head.weight[3, 3] += 1
    run(folder, lm)


def nothing_frozen(folder: Path) -> None:
    lm = tiny_lm("llama")
    lm.bank.thaw()
    run(folder, lm)


@pytest.mark.parametrize(
    "other",
    [
        other_data,
        moved_split,
        other_weights,
        nothing_frozen,
        lambda folder: run(folder, tiny_lm("llama"), replace(SETTINGS, lr=0.03)),
        lambda folder: run(folder, tiny_lm("llama", seed=1)),
    ],
    ids=["data", "split", "backbone", "frozen", "settings", "rows"],
)
def test_another_run_is_not_taken_up(tmp_path: Path, other: Any) -> None:
    run(tmp_path, tiny_lm("llama"))
    kept = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(TrainingError, match=r"checkpoint .*run is of run \w+.*same data, settings, backbone"):
        other(tmp_path)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == kept


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def other_parameters(path: Path) -> None:
    save_file({"parameter.0": torch.zeros(1, 1)}, path)
    facts = path.with_name("state.json")
    held = json.loads(facts.read_text())
    facts.write_text(json.dumps(held | {"tensors": hashlib.sha256(path.read_bytes()).hexdigest()}))


def edited(path: Path, **progress: object) -> None:
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"progress": held["progress"] | progress}))


@pytest.mark.parametrize(
    ("name", "harm", "says"),
    [
        ("state.json", cut, "no JSON"),
        ("state.json", lambda path: path.write_text("[]"), "a list, no dict"),
        ("state.json", lambda path: path.write_text("{}"), "no state of a run: 'identity'"),
        ("state.json", lambda path: path.write_text('{"identity": "", "progress": {"stp": 1}}'), "stp"),
        ("state.safetensors", cut, "is damaged"),
        ("state.safetensors", Path.unlink, r"no state\.safetensors in"),
        ("state.safetensors", flipped, "edited after saving"),
        ("state.safetensors", other_parameters, r"with parameter\.0 of numbers, shape \(1, 1\)"),
        ("state.json", lambda path: edited(path, step="3"), "step is '3'"),
    ],
)
def test_a_damaged_checkpoint_says_what_to_remove(
    tmp_path: Path, name: str, harm: Callable[[Path], object], says: str
) -> None:
    run(tmp_path, tiny_lm("llama"))
    folder = tmp_path / "run"
    harm(folder / name)
    lm = tiny_lm("llama")
    before = lm.bank.steering.rows().clone()
    with pytest.raises(TokMemError, match=says) as error:
        run(tmp_path, lm)
    assert error.value.got.startswith(f"{folder / name} is damaged")
    assert f"remove the folder {folder} " in error.value.do
    assert torch.equal(lm.bank.steering.rows(), before)
    shutil.rmtree(folder)
    run(tmp_path, lm)


def test_a_checkpoint_of_a_newer_version_is_not_taken_up(tmp_path: Path) -> None:
    run(tmp_path, tiny_lm("llama"))
    path = tmp_path / "run" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(TrainingError, match=r"format 2; wanted: at most format 1; .*pip install --upgrade"):
        run(tmp_path, tiny_lm("llama"))
