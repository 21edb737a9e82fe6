from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, QWEN, tiny_tokenizer
from tests.methods.finetuning import OPTIONS, SETTINGS, block, equal, procedures, weights
from tests.tiny import tiny_backbone
from tokmem.errors import AdapterError, ConfigError, DataError, TokMemError, TrainingError
from tokmem.methods.base import Base
from tokmem.methods.lora import LoRA
from tokmem.methods.protocol import Method
from tokmem.methods.replay import Replay
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.records import Example, Turn
from tokmem.train import fit as training

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def lora(backbone: Backbone, **options: Any) -> LoRA:
    return LoRA(backbone, **OPTIONS | options)


def test_a_stage_trains_the_whole_adapter_and_nothing_else(backbone: Backbone) -> None:
    made: Method = lora(backbone)
    assert isinstance(made, LoRA)
    before = {n: t.clone() for n, t in backbone.model.state_dict().items()}
    base = Base(backbone, recall=OPTIONS["recall"])
    plain = base.answer(block("a"))
    start = weights(made)
    learned = made.learn(procedures("a"), block("a"), block("b")[:2])
    assert (learned.steps, learned.new_examples, learned.replayed_examples) == (4, 16, 0)
    assert learned.validation_loss is not None
    first = weights(made)
    assert all((a != b).any() for a, b in zip(first, start, strict=True))
    made.learn(procedures("b"), block("b"), [])
    assert all((a != b).any() for a, b in zip(weights(made), first, strict=True)), "what was learned is moved"
    assert made.answer(block("a")) != plain
    assert base.answer(block("a")) == plain, "others use the same backbone"
    assert all(torch.equal(t, before[n]) for n, t in backbone.model.state_dict().items())
    assert made.trainable_parameters == sum(p.numel() for p in made.adapter.parameters) == 2 * 2 * 112


def test_an_untrained_adapter_answers_as_the_backbone(backbone: Backbone) -> None:
    for prompt in ("instruction+query", "query"):
        made, base = (kind(backbone, prompt=prompt, recall=OPTIONS["recall"]) for kind in (LoRA, Base))
        answers = made.answer(block("a"))
        assert answers == base.answer(block("a"))
        assert answers == made.answer(block("a"), forced=True)
        assert {(a.route, a.turns) for a in answers} == {(None, ())}


def test_it_sees_what_tokmem_sees_in_the_same_order(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    micro_batches = training.Run._micro_batches

    def watched(run: Any, step: int) -> Any:
        batches = micro_batches(run, step)
        seen[-1].extend(i for batch in batches for i in batch.indices)
        return batches

    monkeypatch.setattr(training.Run, "_micro_batches", watched)
    for method in (lora(backbone), TokMem(backbone, coupled=True, settings=SETTINGS)):
        seen.append([])
        method.learn(procedures("a"), block("a", 9), [])
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == sorted([*range(9)] * 2)


def test_defaults_are_the_papers_and_the_scripts(backbone: Backbone) -> None:
    made = LoRA(backbone)
    assert (made.settings.lr, made.settings.weight_decay) == (5e-5, 1e-2)
    shape = made.adapter.settings
    assert (shape.lora_r, shape.lora_alpha, shape.lora_dropout) == (8, 32, 0.1)
    assert shape.target_modules == ("q_proj", "v_proj")
    assert LoRA(backbone, lora_r=1).trainable_parameters * 8 == made.trainable_parameters


@pytest.mark.parametrize("kind", [LoRA, Replay])
def test_a_run_resumed_at_a_stage_ends_bit_equal(kind: Any, backbone: Backbone, tmp_path: Path) -> None:
    whole, first, second = (kind(backbone, **OPTIONS) for _ in range(3))
    for name in "abc":
        whole.learn(procedures(name), block(name), block(name)[:2])
    for name in "ab":
        first.learn(procedures(name), block(name), block(name)[:2])
    first.save(tmp_path / "saved", {"experiment": "x"})
    second.restore(tmp_path / "saved")
    assert (second.stage, equal(weights(second), weights(first))) == (2, True)
    second.learn(procedures("c"), block("c"), block("c")[:2])
    assert equal(weights(second), weights(whole))
    assert not equal(weights(second), weights(first))
    assert second.answer(block("c")) == whole.answer(block("c"))
    for method, folder in ((whole, "one"), (second, "two")):
        method.save(tmp_path / folder, {"experiment": "x"})
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    notes = json.loads((tmp_path / "one" / "tokmem.json").read_text())["notes"]
    assert (notes["method"], notes["training"]) == (kind.name, {"experiment": "x"})


def test_load_model_starts_from_a_saved_adapter(backbone: Backbone, tmp_path: Path) -> None:
    made = lora(backbone)
    made.learn(procedures("a"), block("a"), [])
    made.save(tmp_path / "a")
    for kind in (LoRA, Replay):
        loaded = kind(backbone, load_model=tmp_path / "a", **OPTIONS)
        assert (loaded.stage, equal(weights(loaded), weights(made))) == (0, True)
        assert loaded.answer(block("a")) == made.answer(block("a"))


def test_what_does_not_belong_here_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    made = lora(backbone)
    made.save(tmp_path / "a")
    before = weights(made)
    with pytest.raises(AdapterError, match="has method 'lora'; wanted: method 'replay'"):
        Replay(backbone, **OPTIONS).restore(tmp_path / "a")
    with pytest.raises(AdapterError, match="trained on backbone"):
        lora(tiny_backbone(tiny_tokenizer(LLAMA), seed=1)).restore(tmp_path / "a")
    other = replace(backbone, tokenizer=tiny_tokenizer(QWEN, eos="<|im_end|>"))
    with pytest.raises(AdapterError, match="has chat"):
        lora(other).restore(tmp_path / "a")
    with pytest.raises(AdapterError, match="has r 2; wanted: r 4"):
        LoRA(backbone, lora_r=4, load_model=tmp_path / "a")
    with pytest.raises(AdapterError, match=r"no tokmem\.json"):
        made.restore(tmp_path / "nothing")
    assert equal(weights(made), before)


def test_mistakes_are_named(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'query_key_value'.*down_proj, gate_proj, k_proj, o_proj, q_proj"):
        lora(backbone, target_modules=("query_key_value",))
    with pytest.raises(ConfigError, match="lora_r 0"):
        lora(backbone, lora_r=0)
    with pytest.raises(ConfigError, match="target_modules 'q_proj'"):
        lora(backbone, target_modules="q_proj")
    with pytest.raises(TrainingError, match="0 examples"):
        lora(backbone).learn(procedures("a"), [], [])
    chain = Example("q", (Turn("a", "x"), Turn("b", "y")), id="two")
    with pytest.raises(DataError, match="'two': 2 turns"):
        lora(backbone).learn(procedures("a"), [chain], [])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(TokMemError, match=r"pip install \"tokmem\[peft\]\""):
        lora(backbone)
