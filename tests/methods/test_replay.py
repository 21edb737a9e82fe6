from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.finetuning import OPTIONS, SETTINGS, block, equal, procedures, weights
from tests.tiny import tiny_backbone
from tokmem.errors import AdapterError, ConfigError, TrainingError
from tokmem.log import Metrics
from tokmem.methods import adapted
from tokmem.methods.lora import LoRA
from tokmem.methods.replay import Replay
from tokmem.model.backbone import Backbone

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def replay(backbone: Backbone, **options: Any) -> Replay:
    return Replay(backbone, **OPTIONS | options)


def test_the_first_block_is_that_of_fine_tuning_and_the_second_is_not(backbone: Backbone) -> None:
    made, plain = replay(backbone), LoRA(backbone, **OPTIONS)
    first, alone = (m.learn(procedures("a"), block("a"), block("a")[:2]) for m in (made, plain))
    assert equal(weights(made), weights(plain))
    assert (first.new_examples, first.replayed_examples) == (16, 0) == (alone.new_examples, 0)
    second, alone = (m.learn(procedures("b"), block("b"), []) for m in (made, plain))
    assert not equal(weights(made), weights(plain))
    assert second.new_examples == alone.new_examples == 16, "replays come on top"
    assert second.replayed_examples == 4
    assert second.steps > alone.steps


def test_what_is_replayed_is_of_earlier_blocks_and_epochs_differ(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen = replay(backbone, continual_replay_ratio=0.5), []
    fit = adapted.fit

    def watched(objective: Any, examples: Any, settings: Any, *, order: Any, **options: Any) -> Any:
        epochs = [[i for b in order.epoch(e) for i in b.indices] for e in range(settings.epochs)]
        seen.append([[examples[i].id for i in epoch] for epoch in epochs])
        return fit(objective, examples, settings, order=order, **options)

    monkeypatch.setattr(adapted, "fit", watched)
    for name in "abc":
        made.learn(procedures(name), block(name), [])
    for stage, name in enumerate("abc"):
        for epoch in seen[stage]:
            assert sorted(i for i in epoch if i[0] == name) == [f"{name}{i}" for i in range(8)]
            assert {i[0] for i in epoch} <= set("abc"[: stage + 1])
    old = [[i for i in epoch if i[0] != "c"] for epoch in seen[2]]
    assert old[0] != old[1]
    assert {i[0] for epoch in old for i in epoch} == {"a", "b"}


def test_the_buffer_holds_no_more_than_it_may_and_is_refreshed_at_the_blocks_end(backbone: Backbone) -> None:
    made = replay(backbone, buffer_size=5)
    assert replay(backbone).reservoir.size == 500
    for count, name in enumerate("abcd", 1):
        made.learn(procedures(name), block(name), [])
        assert (len(made.reservoir.examples), made.reservoir.seen) == (5, 8 * count)
    assert {e.id[0] for e in made.reservoir.examples} - {"a"}
    held = list(made.reservoir.examples)
    with pytest.raises(TrainingError, match="0 examples"):
        made.learn(procedures("e"), [], [])
    assert (made.reservoir.examples, made.stage) == (held, 4)


def test_totals_are_logged(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    made = replay(backbone)
    with caplog.at_level(logging.INFO, "tokmem"):
        made.learn(procedures("a"), block("a"), [])
        made.learn(procedures("b"), block("b"), [])
    assert "block 1: 16 new and 0 replayed examples; 8 of 8 kept for later" in caplog.messages
    assert "block 2: 16 new and 4 replayed examples; 16 of 16 kept for later" in caplog.messages


def test_totals_are_of_what_was_seen_where_training_stops_early(backbone: Backbone) -> None:
    stopping = replace(SETTINGS, lr=2.0, epochs=6, validate_every=1, patience=2, schedule="constant")
    made = replay(backbone, settings=stopping)
    made.reservoir.add(block("z"))
    learned = made.learn(procedures("a"), block("a"), block("b")[:3])
    assert learned.steps < 6 * 3
    assert 0 < learned.new_examples + learned.replayed_examples <= 4 * learned.steps
    assert learned.new_examples < 48


class Stop(Exception):
    pass


class Interrupted(Metrics):
    def write(self, step: int, values: Mapping[str, Any]) -> None:
        super().write(step, values)
        if step == 4:
            raise Stop


def test_a_run_stopped_within_a_later_block_ends_bit_equal(backbone: Backbone, tmp_path: Path) -> None:
    often = {"settings": replace(SETTINGS, checkpoint_every=1)}
    whole, first, second = (replay(backbone, **often) for _ in range(3))
    for name in "ab":
        whole.learn(procedures(name), block(name), block(name)[:2])
    first.learn(procedures("a"), block("a"), block("a")[:2])
    first.save(tmp_path / "saved")
    rest = (procedures("b"), block("b"), block("b")[:2])
    with pytest.raises(Stop), Interrupted(tmp_path / "m.jsonl") as metrics:
        first.learn(*rest, checkpoint=tmp_path / "run", callbacks=[metrics])
    second.restore(tmp_path / "saved")
    second.learn(*rest, checkpoint=tmp_path / "run")
    assert equal(weights(second), weights(whole))
    assert second.reservoir.state() == whole.reservoir.state()


@pytest.mark.parametrize("ratio", [1.0, -0.2, 20])
def test_a_share_that_cannot_be_is_refused(backbone: Backbone, ratio: float) -> None:
    with pytest.raises(ConfigError, match=f"replay ratio {ratio}"):
        replay(backbone, continual_replay_ratio=ratio)


def test_another_buffer_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    replay(backbone, buffer_size=5).save(tmp_path / "a")
    with pytest.raises(AdapterError, match="has buffer_size 5; wanted: buffer_size 500"):
        replay(backbone).restore(tmp_path / "a")
    with pytest.raises(ConfigError, match="buffer size 0"):
        replay(backbone, buffer_size=0)
