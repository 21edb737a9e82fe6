"""Files of earlier versions load in every later version. A newer format says what to install.

`tests/data/formats` holds them. Nobody writes them again: a new format gets new files beside them. Prefixes
on disk are no such files: another version reads the prompts again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tests.methods.retrieval.test_pool import pool, queries
from tests.tiny import tiny_model
from tokmem.bank.closed import gate_of
from tokmem.bank.store import load_bank
from tokmem.cli.main import app
from tokmem.errors import BankError
from tokmem.model.backbone import wrap_backbone
from tokmem.model.converted import read_converted
from tokmem.model.lora import Adapter, LoraSettings
from tokmem.train.checkpoint import RunState

FORMATS = Path(__file__).parent / "data" / "formats"
OF_THE_RUN = "--backbone mini --dtype float32 --epochs 1 --methods tokmem --start mean".split()


def numbers(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(*shape)


def test_a_bank_of_0_1_0_loads() -> None:
    bank, origin = load_bank(FORMATS / "bank")
    assert bank.names == ("weather", "élan")
    assert bank.procedures["weather"].parameters == {
        "type": "object",
        "properties": {"place": {"type": "string"}},
    }
    assert torch.equal(bank.addresses(), numbers(2, 4))
    assert torch.equal(bank.steering.rows(), numbers(4, 4))
    assert (bank.memory, bank.slots.retired) == ({"weather": (90, 91), "élan": (92, 93)}, (95,))
    assert {name: len(states) for name, states in bank.states.items()} == {"weather": 2, "élan": 2}
    assert bank.statistics is not None
    assert bank.statistics.counts == {"weather": 6, "élan": 6}
    gate = gate_of(bank)
    assert gate is not None
    assert gate.fits(bank.statistics.mean("weather")[None]) == pytest.approx(1.0)
    assert (origin.backbone, origin.training, origin.configuration) == (
        "tiny",
        {"prompt": "query"},
        {"head_dim": 8},
    )


def test_a_checkpoint_of_0_1_0_is_taken_up(tmp_path: Path) -> None:
    shutil.copytree(FORMATS / "checkpoint", tmp_path / "run")
    parameter = nn.Parameter(torch.zeros(2, 3))
    state = RunState([parameter], torch.optim.AdamW([parameter], lr=0.1))
    assert state.resume(tmp_path / "run", "run")
    assert torch.equal(parameter, numbers(2, 3))
    assert (state.progress.step, state.progress.loss, len(state.best)) == (3, 0.5, 1)
    assert state.optimizer.state[parameter]["step"] == 1


def test_a_conversion_of_0_1_0_is_used() -> None:
    held = read_converted(FORMATS / "converted")
    assert held is not None
    assert (held.file, held.dtype, held.fingerprint) == ("tiny.gguf", "float32", "f")


def test_an_adapter_of_0_2_0_loads() -> None:
    pytest.importorskip("peft")
    backbone = replace(wrap_backbone(tiny_model("llama"), None, "tiny"), fingerprint="f")
    adapter = Adapter(backbone, LoraSettings(lora_r=2, target_modules=("q_proj",)), 0)
    assert adapter.load(FORMATS / "adapter", {"seed": 0}) == {"seed": 0}
    assert all(torch.equal(parameter, numbers(*parameter.shape)) for parameter in adapter.parameters)


def test_a_pool_of_0_2_0_loads() -> None:
    made = pool()
    made.load(FORMATS / "pool", {"text": "query"})
    (hits,) = made.nearest(made.embed(["a blue sea"]), 1)
    assert queries(hits) == ["blue sky"]
    assert hits[0].example.turns[0].response == "no"


def test_a_run_of_0_2_0_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FORMATS / "run", tmp_path / "run")
    shutil.copy(FORMATS / "run.jsonl", tmp_path / "corpus.jsonl")
    monkeypatch.chdir(tmp_path)
    ended = json.loads(Path("run/summary.json").read_text("utf-8"))["rows"]
    done = CliRunner().invoke(app, ["train", "corpus.jsonl", *OF_THE_RUN, "--out", "run", "--resume"])
    assert done.exit_code == 0, done.output
    # Rows hold seconds, which would differ if anything had run again.
    assert json.loads(Path("run/summary.json").read_text("utf-8"))["rows"] == ended


def test_a_newer_bank_says_what_to_install(tmp_path: Path) -> None:
    shutil.copytree(FORMATS / "bank", tmp_path / "bank")
    path = tmp_path / "bank" / "bank.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"format": 4}), "utf-8")
    with pytest.raises(BankError, match=r"at most format 3; .*pip install --upgrade tokmem"):
        load_bank(tmp_path / "bank")
