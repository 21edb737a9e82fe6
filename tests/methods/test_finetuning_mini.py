"""The fine-tuning methods on the bundled backbone: they learn, and without replay they forget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.held_out import FIRST, LATER, RECALL, corpus, load_mini, rouge
from tokmem.log import Callback, Metrics
from tokmem.methods.adapted import Adapted
from tokmem.methods.base import Base
from tokmem.methods.lora import LoRA
from tokmem.methods.replay import Replay
from tokmem.model.backbone import Backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.train.settings import FitSettings

pytest.importorskip("peft")
pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def mini() -> Backbone:
    return load_mini()


def options(epochs: int) -> dict[str, object]:
    settings = FitSettings(lr=2e-3, weight_decay=1e-2, epochs=epochs, batch_size=8)
    return {"prompt": "query", "settings": settings, "recall": RECALL}


def learn(method: Adapted, names: tuple[str, ...], *callbacks: Callback) -> None:
    given = corpus(names)
    method.learn(given.procedures, given.examples("train"), given.examples("validation"), callbacks=callbacks)


def test_fine_tuning_learns_a_procedure(mini: Backbone, tmp_path: Path) -> None:
    before, tests = fingerprint(mini.model), corpus(LATER).examples("test")
    made = LoRA(mini, **options(epochs=3))
    assert made.trainable_parameters == 6 * 8 * (256 + 256 + 256 + 128), "as wide as its queries and values"
    with Metrics(tmp_path / "m.jsonl") as metrics:
        learn(made, LATER, metrics)
    written = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in written if "loss" in line]
    assert len(losses) == 18
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    base = Base(mini, prompt="query", recall=RECALL)
    assert rouge(tests, made.answer(tests)) >= rouge(tests, base.answer(tests)) + 15
    assert fingerprint(mini.model) == before


def test_replay_learns_and_shows_earlier_examples_again(mini: Backbone) -> None:
    tests = corpus(LATER).examples("test")
    made = Replay(mini, **options(epochs=2), continual_replay_ratio=0.25)
    first = corpus(FIRST[1:2])
    made.learn(first.procedures, first.examples("train")[:24], [])
    learned = made.learn(corpus(LATER).procedures, corpus(LATER).examples("train"), [])
    assert (learned.new_examples, learned.replayed_examples) == (96, 32)
    assert made.trainable_parameters == LoRA(mini, **options(epochs=1)).trainable_parameters
    base = Base(mini, prompt="query", recall=RECALL)
    assert rouge(tests, made.answer(tests)) >= rouge(tests, base.answer(tests)) + 15


@pytest.mark.slow
def test_a_later_stage_makes_it_forget_and_replay_holds_most(mini: Backbone) -> None:
    tests, lost, later = corpus(FIRST).examples("test"), {}, {}
    for kind in (LoRA, Replay):
        made = kind(mini, **options(epochs=4))
        learn(made, FIRST)
        first = rouge(tests, made.answer(tests))
        assert first >= 90
        learn(made, LATER)
        lost[kind] = first - rouge(tests, made.answer(tests))
        later[kind] = rouge(corpus(LATER).examples("test"), made.answer(corpus(LATER).examples("test")))
    assert min(later.values()) >= 90
    assert lost[LoRA] >= 10 > lost[Replay]
