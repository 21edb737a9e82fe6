"""Memory tokens before the query as a method, and PEFT's prompts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, QWEN, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.data.chat import Chat
from tokmem.errors import AdapterError, BankError, ConfigError, DataError, TrainingError
from tokmem.methods.peft_prompts import PeftObjective, PeftPrompt
from tokmem.methods.prefix_tuning import PrefixTuning
from tokmem.methods.protocol import Method
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train import bank_objective
from tokmem.train.settings import FitSettings

SETTINGS = FitSettings(lr=0.05, epochs=30, batch_size=3, warmup=0.0, schedule="constant")
RECALL = RecallSettings(max_new_tokens=8, batch_size=2)
PROCEDURE = Procedure("capital", "names the capital")
CITIES = {"France": "Paris", "a country": "the capital", "Today": "26 Jul", "Japan": "Tokyo Tokyo"}
EXAMPLES = [Example(q, (Turn("capital", r),), "do it", id=q) for q, r in CITIES.items()]
KINDS = ("prefix", "before_bos", "prompt_tuning", "prefix_tuning")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def method(backbone: Backbone, kind: str, **options: Any) -> Method:
    options = {"settings": SETTINGS, "recall": RECALL, "width": 3} | options
    if kind.endswith("tuning"):
        return PeftPrompt(backbone, kind, **options)
    return PrefixTuning(backbone, placement=kind, **{"start": "sampled"} | options)


@pytest.mark.parametrize("kind", KINDS)
def test_learn_answer_save_restore(backbone: Backbone, tmp_path: Path, kind: str) -> None:
    weights = {name: p.clone() for name, p in backbone.model.named_parameters()}
    made = method(backbone, kind)
    untrained = method(backbone, kind)
    if kind in ("prefix", "before_bos"):
        untrained.add([PROCEDURE])
        assert made.bank.dim * 3 == untrained.trainable_parameters
    learned = made.learn([PROCEDURE], EXAMPLES, EXAMPLES[:1])
    assert (learned.steps, learned.new_examples) == (60, 120)
    answers = made.answer(EXAMPLES)
    assert [a.response for a in answers] != [a.response for a in untrained.answer(EXAMPLES)]
    alone = [made.answer([e], forced=True)[0] for e in EXAMPLES]
    assert [a.response for a in alone] == [a.response for a in answers]
    assert {a.route for a in answers} == {None}
    made.save(tmp_path / "saved", {"by": "test"})
    again = method(backbone, kind, seed=9)
    again.restore(tmp_path / "saved")
    assert again.answer(EXAMPLES) == answers
    assert all(torch.equal(p, weights[name]) for name, p in backbone.model.named_parameters())
    assert not any(p.requires_grad for p in backbone.model.parameters())
    other = {"prefix": "before_bos", "before_bos": "prefix"}.get(kind, "prompt_tuning")
    with pytest.raises((BankError, AdapterError), match=r"placement|kind|width"):
        method(backbone, other, width=2).restore(tmp_path / "saved")
    with pytest.raises((BankError, AdapterError)):
        method(backbone, kind, chat=Chat(backbone.tokenizer, plain=True)).restore(tmp_path / "saved")


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_starts_from_the_same_rows(backbone: Backbone, kind: str, tmp_path: Path) -> None:
    few = FitSettings(lr=0.05, epochs=1, batch_size=2)
    results = []
    for _ in range(2):
        made = method(backbone, kind, settings=few)
        made.learn([PROCEDURE], EXAMPLES, (), checkpoint=tmp_path / "checkpoint")
        results.append(made.answer(EXAMPLES))
    assert results[0] == results[1]
    with pytest.raises(TrainingError, match="is of run"):
        method(backbone, kind, settings=few, seed=1).learn(
            [PROCEDURE], EXAMPLES, (), checkpoint=tmp_path / "checkpoint"
        )


def test_prefix_takes_the_plain_path(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_objective, "frozen_prefix_states", None)
    method(backbone, "prefix").learn([PROCEDURE], EXAMPLES, EXAMPLES)


def test_prompt_tuning_is_ours_before_bos(backbone: Backbone) -> None:
    """Two libraries, one function: with the same rows the losses and the answers are equal."""
    ours, theirs = method(backbone, "before_bos"), method(backbone, "prompt_tuning")
    ours.add([PROCEDURE])
    (parameter,) = theirs.parameters
    with torch.no_grad():
        parameter.copy_(ours.bank.steering.rows())
    mine = bank_objective.BankObjective(ours.lm, frozen_prefix=False, cache_bytes=0)
    got = next(mine.validation([ours.encoder.encode(e) for e in EXAMPLES], 4, 4))
    plain = [theirs.encoder.encode_plain(e) for e in EXAMPLES]
    want = next(PeftObjective(theirs).validation(plain, 4, 4))
    assert got.count == want.count
    torch.testing.assert_close(got.total, want.total, rtol=1e-5, atol=1e-4)
    gradients = []
    for loss, weight in ((got, ours.bank.steering.fresh), (want, parameter)):
        (gradient,) = torch.autograd.grad(loss.total, weight)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    assert [a.response for a in ours.answer(EXAMPLES)] == [a.response for a in theirs.answer(EXAMPLES)]


def test_each_procedure_has_its_own_embeddings(backbone: Backbone) -> None:
    made = method(backbone, "prefix", settings=FitSettings(lr=0.05, epochs=2))
    made.learn([PROCEDURE], EXAMPLES, ())
    before = made.bank.rows("capital")[1]
    others = [Example(e.query, (Turn("other", "x"),)) for e in EXAMPLES]
    made.learn([Procedure("other")], others, ())
    assert torch.equal(made.bank.rows("capital")[1], before)
    assert made.bank.names == ("capital", "other")
    with pytest.raises(DataError, match="no memory token for procedure 'third'"):
        made.answer([Example("q", (Turn("third", ""),))])


def test_options_are_checked(backbone: Backbone) -> None:
    for kind, options in (("infix", {}), ("p_tuning", {}), ("prompt_tuning", {"width": 0})):
        with pytest.raises(ConfigError):
            method(backbone, kind, **options)
    with pytest.raises(TrainingError, match="0 examples"):
        method(backbone, "prompt_tuning").learn([PROCEDURE], (), ())
    with pytest.raises(AdapterError, match="in nowhere"):
        method(backbone, "prefix_tuning").restore(Path("nowhere"))


def test_a_damaged_prompt_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    method(backbone, "prefix_tuning").save(tmp_path / "saved")
    path, facts = (tmp_path / "saved" / name for name in ("prompt.safetensors", "tokmem.json"))
    whole, said = path.read_bytes(), json.loads(facts.read_text())
    path.write_bytes(whole[:-4])
    with pytest.raises(AdapterError, match="truncated or was edited"):
        method(backbone, "prefix_tuning").restore(tmp_path / "saved")
    facts.write_text(json.dumps(said | {"tensors": hashlib.sha256(whole[:-4]).hexdigest()}))
    with pytest.raises(AdapterError, match="cannot be read"):
        method(backbone, "prefix_tuning").restore(tmp_path / "saved")
    for text, match in (('{"kind": ', "no JSON"), ("{}", "has kind None"), ("[1]", "a JSON object")):
        facts.write_text(text)
        with pytest.raises(AdapterError, match=match):
            method(backbone, "prefix_tuning").restore(tmp_path / "saved")


def test_other_chat_formats() -> None:
    """ChatML has no BOS: the prefix stands first."""
    chatml = tiny_backbone(tiny_tokenizer(QWEN))
    made = method(chatml, "prefix")
    made.add([PROCEDURE])
    assert made.encoder.encode(EXAMPLES[0]).prefix == int(
        made.encoder.encode_plain(EXAMPLES[0]).ids[0] == made.chat.bos
    )


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
def test_peft_prompts_stop_where_all_responses_do(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = method(backbone, kind, recall=RecallSettings(max_new_tokens=3))
    prompt, steps = made.encoder.prompt(EXAMPLES[0]), []
    base = made.model.get_base_model()
    handle = base.register_forward_hook(lambda *_: steps.append(1))
    ((written, done),) = made._write([prompt])
    assert (len(written), done, len(steps)) == (3, False, 3)
    monkeypatch.setattr(backbone.model.generation_config, "eos_token_id", [written[0]])
    assert made._write([prompt]) == [([], True)]
    assert len(steps) == 4
    handle.remove()
