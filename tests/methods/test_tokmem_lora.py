"""Memory tokens beside an adapter: when it trains, what it belongs to, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.finetuning import block, procedures
from tests.tiny import tiny_backbone
from tokmem.errors import AdapterError, BankError
from tokmem.methods.tokmem_lora import TokMemLora, home_of
from tokmem.model.backbone import Backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.model.lora import LoraSettings
from tokmem.recall.settings import RecallSettings
from tokmem.train.adapter import JointObjective
from tokmem.train.settings import FitSettings

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def method(backbone: Backbone, freeze: bool, **options: Any) -> TokMemLora:
    shape = LoraSettings(lora_r=2, lora_dropout=0.2)
    settings = FitSettings(lr=0.02, batch_size=4)
    recall = RecallSettings(max_new_tokens=6)
    common = {"lora": shape, "settings": settings, "recall": recall, "lora_lr": 0.01, "prompt": "query"}
    return TokMemLora(backbone, freeze_after_first=freeze, **{**common, **options})


def weights(made: TokMemLora) -> list[torch.Tensor]:
    return [p.detach().clone() for p in made.adapter.parameters]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("freeze", [False, True])
def test_the_adapter_trains_in_every_stage_or_in_the_first(backbone: Backbone, freeze: bool) -> None:
    made = method(backbone, freeze)
    start, names = weights(made), [made.backbone.fingerprint]
    for name in ("one", "two"):
        trains_both = isinstance(made._objective(made.settings), JointObjective)
        assert trains_both == (name == "one" or not freeze)
        made.learn(procedures(name), block(name), [])
        names.append(made.backbone.fingerprint)
        if name == "one":
            first = weights(made)
    assert not equal(start, first)
    assert equal(first, weights(made)) == freeze
    assert len(set(names)) == (2 if freeze else 3)
    assert fingerprint(backbone.model) == backbone.fingerprint, "what it stands on is as it was"
    assert any(p.requires_grad for p in made.adapter.parameters) != freeze


def test_a_frozen_adapter_leaves_forced_answers_as_they_were(backbone: Backbone) -> None:
    """Rows and backbone of the first stage are bit-equal later, so what they say is too."""
    made = method(backbone, True)
    made.learn(procedures("one"), block("one"), [])
    before = made.answer(block("one"), forced=True)
    made.learn(procedures("two"), block("two"), [])
    after = made.answer(block("one"), forced=True)
    assert [a.response for a in before] == [a.response for a in after]


@pytest.mark.parametrize("freeze", [False, True])
def test_what_is_saved_goes_on_alike(backbone: Backbone, freeze: bool, tmp_path: Path) -> None:
    made, again = method(backbone, freeze), method(backbone, freeze)
    made.learn(procedures("one"), block("one"), [])
    made.save(tmp_path / "kept")
    again.restore(tmp_path / "kept")
    for each in (made, again):
        each.learn(procedures("two"), block("two"), [])
    assert equal(weights(made), weights(again))
    assert torch.equal(made.bank.addresses(), again.bank.addresses())
    assert made.backbone.fingerprint == again.backbone.fingerprint
    with pytest.raises(AdapterError, match="r 2"):
        method(backbone, freeze, lora=LoraSettings(lora_r=3)).restore(tmp_path / "kept")


def test_a_bank_of_another_adapter_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    for seed in (0, 1):
        made = method(backbone, True, seed=seed)
        made.learn(procedures("one"), block("one"), [])
        made.save(tmp_path / str(seed))
    (tmp_path / "0/adapter").rename(tmp_path / "own")
    (tmp_path / "1/adapter").rename(tmp_path / "0/adapter")
    with pytest.raises(BankError, match="was trained on backbone"):
        method(backbone, True).restore(tmp_path / "0")


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("freeze", [False, True])
def test_what_is_saved_is_loaded_by_what_its_folder_says(
    backbone: Backbone, freeze: bool, coupled: bool, tmp_path: Path
) -> None:
    made = method(backbone, freeze, coupled=coupled)
    for name in ("one", "two"):
        made.learn(procedures(name), block(name), [])
    made.save(tmp_path / "kept", {"note": "x"})
    home = home_of(tmp_path / "kept/bank")
    assert home == home_of(tmp_path / "kept") == tmp_path / "kept"
    loaded = TokMemLora.load(home, backbone, recall=made.recall_settings)
    assert loaded.adapter.settings == made.adapter.settings
    assert (loaded.prompt, loaded.bank.coupled, loaded.history["note"]) == ("query", coupled, "x")
    assert loaded.backbone.fingerprint == made.backbone.fingerprint
    assert equal(weights(loaded), weights(made))
    assert torch.equal(loaded.bank.addresses(), made.bank.addresses())
    for answer, again in zip(made.answer(block("one")), loaded.answer(block("one")), strict=True):
        assert answer.turns == again.turns
    with pytest.raises(AdapterError, match="was trained on backbone"):
        TokMemLora.load(home, tiny_backbone(tiny_tokenizer(LLAMA), seed=1))


def test_a_bank_without_its_adapter_is_told(backbone: Backbone, tmp_path: Path) -> None:
    made = method(backbone, True)
    made.learn(procedures("one"), block("one"), [])
    made.save(tmp_path / "kept")
    (tmp_path / "kept/bank").rename(tmp_path / "alone")
    with pytest.raises(BankError, match="beside an adapter, and none stands beside it"):
        home_of(tmp_path / "alone")


def test_the_adapter_keeps_its_own_rate_in_fit(backbone: Backbone) -> None:
    made = method(backbone, freeze=False)
    _, adapter = made._objective(FitSettings(lr=0.5)).groups
    assert adapter.rate * 0.5 == pytest.approx(made.lora_lr)


def test_a_loaded_bank_learns_with_settings_that_fit(backbone: Backbone, tmp_path: Path) -> None:
    made = method(backbone, freeze=True)
    made.learn(procedures("one"), block("one"), [])
    made.save(tmp_path)
    loaded = TokMemLora.load(tmp_path, backbone)
    report = loaded.fit([(f"say {n}", f"SAY {n}") for n in range(5)], procedure="new")
    assert report.steps == 150
    assert report.loss < report.first_loss
