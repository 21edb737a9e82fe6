from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import recorded_prompts, tiny_backbone
from tokmem.data import Chat
from tokmem.errors import ConfigError, DataError, RecallError
from tokmem.methods.icl import FILE, Icl
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.procedures import SETTINGS
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Demonstration, Example, Procedure, Turn

RECALL = RecallSettings(max_new_tokens=4)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def examples(*names: str, count: int = 6) -> list[Example]:
    return [Example(f"{n} query {i}", (Turn(n, f"{n} {i}"),), f"do {n}") for n in names for i in range(count)]


def learned(backbone: Backbone, *names: str, **options: Any) -> Icl:
    made = Icl(backbone, **{"few_shot": 2, "recall": RECALL} | options)
    made.learn([Procedure(name) for name in names], examples(*names), [])
    return made


def pairs_of(chat: Chat, shown: tuple[Demonstration, ...], instruction: str) -> list[Any]:
    lead = f"{instruction}\n\n" if instruction else ""
    return [(chat.text_ids(lead + d.query), chat.text_ids(d.response)) for d in shown]


@pytest.mark.parametrize("prompt", ["instruction+query", "query"])
def test_prompts_hold_demonstrations_of_the_querys_procedure(
    backbone: Backbone, prompt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learned(backbone, "a", "b", prompt=prompt)
    prompts = recorded_prompts(monkeypatch)
    queries = [Example("new", (Turn(name, ""),), f"do {name}") for name in "bab"]
    answers = made.answer(queries)
    chat = Chat(backbone.tokenizer)
    for query, ids, answer in zip(queries, prompts, answers, strict=True):
        shown = made.demonstrations[query.turns[0].procedure]
        assert len(shown) == 2
        assert {d.response[0] for d in shown} == {query.turns[0].procedure}
        instruction = query.instruction if prompt == "instruction+query" else ""
        user = chat.text_ids(f"{instruction}\n\nnew" if instruction else "new")
        assert ids == chat.prompt_ids(user, pairs_of(chat, shown, instruction))
        assert (answer.prompt_tokens, answer.turns, answer.route) == (len(ids), (), None)
    assert prompts[0] == prompts[2] != prompts[1]
    assert made.answer(queries, forced=True) == answers


def test_the_choice_hangs_on_seed_and_procedure_alone(backbone: Backbone) -> None:
    first = learned(backbone, "a", "b").demonstrations
    alone = learned(backbone, "b").demonstrations
    assert alone["b"] == first["b"]
    others = [learned(backbone, "b", seed=seed).demonstrations["b"] for seed in range(1, 6)]
    assert any(other != first["b"] for other in others)
    assert all(len(set(shown)) == 2 for shown in (*others, first["b"]))


def test_a_later_stage_adds_procedures(backbone: Backbone) -> None:
    made = learned(backbone, "a")
    before = made.demonstrations["a"]
    report = made.learn([Procedure("b")], examples("b"), [])
    assert (report.steps, made.trainable_parameters) == (0, 0)
    assert (made.demonstrations["a"], set(made.demonstrations)) == (before, {"a", "b"})


def test_demonstrations_are_dropped_from_the_end(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = learned(backbone, "a", few_shot=3)
    query = Example("new", (Turn("a", ""),), "do a")
    two = replace(query, demonstrations=made.demonstrations["a"][:2])
    made.encoder.max_length = made.encoder.length(two)
    prompts = recorded_prompts(monkeypatch)
    with caplog.at_level(logging.WARNING, "tokmem"):
        made.answer([query])
    assert prompts == [made.encoder.prompt(two)]
    assert "1 demonstrations of 1 queries were dropped" in caplog.text


def test_save_and_restore(backbone: Backbone, tmp_path: Path) -> None:
    made = learned(backbone, "a", "b")
    made.save(tmp_path / "icl", {"note": "x"})
    again = Icl(backbone, few_shot=2, recall=RECALL)
    again.restore(tmp_path / "icl")
    assert again.demonstrations == made.demonstrations
    assert again.answer(examples("a", "b")) == made.answer(examples("a", "b"))
    assert json.loads((tmp_path / "icl" / FILE).read_text())["training"] == {"note": "x"}
    with pytest.raises(ConfigError, match="few_shot 2; wanted: few_shot 4"):
        Icl(backbone, few_shot=4).restore(tmp_path / "icl")
    with pytest.raises(ConfigError, match="seed 0; wanted: seed 1"):
        Icl(backbone, few_shot=2, seed=1).restore(tmp_path / "icl")
    (tmp_path / "icl" / FILE).write_text(
        '{"few_shot": 2, "seed": 0, "demonstrations": {"a": [{"query": "x"}]}}'
    )
    with pytest.raises(DataError, match="no `response`"):
        again.restore(tmp_path / "icl")
    with pytest.raises(DataError, match="nowhere"):
        again.restore(tmp_path / "nowhere")
    assert set(again.demonstrations) == {"a", "b"}


def test_refusals(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="few_shot 0"):
        Icl(backbone, few_shot=0)
    made = learned(backbone, "capital")
    with pytest.raises(RecallError, match=r"'capitol'.*close: capital"):
        made.answer(examples("capitol"))
    with pytest.raises(DataError, match="0 turns"):
        made.answer([Example("which")])
    with pytest.raises(DataError, match="no training example of 'b'"):
        made.learn([Procedure("b")], [], [])
    with pytest.raises(DataError, match=r"'capitol'.*close: capital"):
        made.learn([Procedure("capital")], examples("capitol"), [])
    with pytest.raises(DataError, match="1 demonstrations"):
        made.answer([replace(examples("capital")[0], demonstrations=(Demonstration("q", "r"),))])
    with caplog.at_level(logging.WARNING, "tokmem"):
        made.learn([Procedure("b")], examples("b", count=1), [])
    assert "b: 1 demonstrations of 2" in caplog.text
    assert made.notes == {"few_shot": 2, "demonstrations": "of the right procedure"}


def test_on_the_bundled_backbone() -> None:
    corpus = procedures_corpus(SETTINGS[:3], train_size=4, val_size=0, test_size=2)
    made = Icl(load_backbone("mini"), few_shot=3, recall=RecallSettings(max_new_tokens=12))
    made.learn(corpus.procedures, corpus.examples("train"), [])
    tests = corpus.examples("test")
    answers = made.answer(tests)
    assert [a.query for a in answers] == [e.query for e in tests]
    assert all(a.response for a in answers)
