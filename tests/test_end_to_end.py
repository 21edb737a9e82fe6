"""A small end-to-end run on the bundled backbone: learn, route, answer, add more, save, load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.held_out import FIRST, LATER, RECALL, corpus, load_mini, rouge
from tokmem import FitSettings, TokMem
from tokmem.methods.base import Base
from tokmem.model.backbone import Backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.records import Answer, Example

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def mini() -> Backbone:
    return load_mini()


def routed(examples: tuple[Example, ...], answers: list[Answer]) -> float:
    return sum(
        a.route.procedure == e.turns[0].procedure for e, a in zip(examples, answers, strict=True)
    ) / len(examples)


def test_query_alone_then_a_second_stage(mini: Backbone, tmp_path: Path) -> None:
    before = fingerprint(mini.model)
    first, later = corpus(FIRST), corpus(LATER)
    settings = FitSettings(lr=0.03, epochs=8, batch_size=8)
    memory = TokMem(mini, coupled=True, prompt="query", settings=settings, recall=RECALL, start="description")
    memory.learn(first.procedures, first.examples("train"), first.examples("validation"))
    tests = first.examples("test")
    base = rouge(tests, Base(mini, prompt="query", recall=RECALL).answer(tests))
    answers = memory.answer(tests)
    assert routed(tests, answers) >= 0.75
    gained = rouge(tests, answers) - base
    assert gained >= 24, "half of what is learned"

    rows, forced = memory.bank.steering.rows().clone(), memory.answer(tests, forced=True)
    memory.learn(later.procedures, later.examples("train"), later.examples("validation"))
    assert torch.equal(memory.bank.steering.rows()[: len(FIRST)], rows)
    again = memory.answer(tests, forced=True)
    assert [a.response for a in again] == [a.response for a in forced]
    assert routed(later.examples("test"), memory.answer(later.examples("test"))) >= 0.75

    memory.save(tmp_path / "bank")
    loaded = TokMem.load(tmp_path / "bank", mini, recall=RECALL)
    assert loaded.prompt == "query"
    assert [a.response for a in loaded.answer(tests)] == [a.response for a in memory.answer(tests)]
    assert fingerprint(mini.model) == before


def test_decoupled_tokens_learn_and_are_counted(mini: Backbone) -> None:
    given, settings = corpus(FIRST[1:]), FitSettings(lr=0.03, epochs=6, batch_size=8)
    memory = TokMem(mini, addresses="trained", prompt="query", settings=settings, recall=RECALL)
    memory.learn(given.procedures, given.examples("train"), given.examples("validation"))
    assert memory.trainable_parameters == 2 * 256, "an address and a steering row"
    tests = given.examples("test")
    answers = memory.answer(tests)
    assert routed(tests, answers) == 1, "there is but one"
    base = rouge(tests, Base(mini, prompt="query", recall=RECALL).answer(tests))
    assert rouge(tests, answers) - base >= 25, "half of what is learned"
