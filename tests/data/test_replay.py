from __future__ import annotations

import json
import math
from collections import Counter
from itertools import islice

import pytest

from tokmem.data.replay import ReplayOrder, Reservoir
from tokmem.data.stream import Stream, optimizer_steps
from tokmem.errors import ConfigError
from tokmem.records import Demonstration, Example, Turn


def examples(count: int, first: int = 0) -> list[Example]:
    return [Example(f"q{i}", (Turn("p", "r"),), id=str(i)) for i in range(first, first + count)]


def order(
    new: int = 40,
    kept: int = 9,
    ratio: float = 0.2,
    *,
    batch_size: int = 4,
    stage: int = 1,
    shuffle: bool = True,
) -> ReplayOrder:
    return ReplayOrder(Stream(new, batch_size, 16, shuffle, seed=0), kept, ratio, stage)


def indices(made: ReplayOrder, epoch: int) -> list[int]:
    return [i for batch in made.epoch(epoch) for i in batch.indices]


def test_every_example_seen_is_kept_with_equal_probability() -> None:
    """Blocks of 30, 30 and 40, ten kept: Pearson's statistic over a thousand reservoirs, 99 degrees."""
    kept: Counter[str] = Counter()
    for seed in range(1000):
        reservoir = Reservoir(10, seed)
        for first, count in ((0, 30), (30, 30), (60, 40)):
            reservoir.add(examples(count, first))
        assert (len({e.id for e in reservoir.examples}), reservoir.seen) == (10, 100)
        kept.update(e.id for e in reservoir.examples)
    expected, share = 100, 0.1
    statistic = sum((kept[str(i)] - expected) ** 2 for i in range(100)) / (expected * (1 - share))
    assert 57 < statistic < 141, "99 expected, deviation 14"
    blocks = [sum(kept[str(i)] for i in part) for part in (range(30), range(30, 60), range(60, 100))]
    assert blocks == pytest.approx([3000, 3000, 4000], abs=150)


def test_a_reservoir_that_is_not_full_keeps_all() -> None:
    reservoir = Reservoir(10, 0)
    reservoir.add(examples(6))
    reservoir.add(examples(4, 6))
    assert reservoir.examples == examples(10)
    with pytest.raises(ConfigError, match="buffer size 0"):
        Reservoir(0, 0)


def test_a_restored_reservoir_goes_on_as_the_first_would_have() -> None:
    whole, other = Reservoir(5, 3), Reservoir(5, 3)
    rich = Example("q", (Turn("a", "b"),), "do", ("b", "c"), (Demonstration("x", "y"),), "id")
    whole.add([rich, *examples(3)])
    other.restore(json.loads(json.dumps(whole.state())))
    assert other.examples == whole.examples
    assert other.examples[0] == rich
    for reservoir in (whole, other):
        reservoir.add(examples(50, 10))
    assert other.examples == whole.examples


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.5, 0.75])
def test_replays_come_on_top_in_the_asked_share(batch_size: int, ratio: float) -> None:
    made = order(new=40, ratio=ratio, batch_size=batch_size)
    share = ratio / (1 - ratio)
    seen = [indices(made, epoch) for epoch in range(3)]
    for epoch in seen:
        assert sorted(i for i in epoch if i < 40) == list(range(40)), "every new one, once"
        assert all(i < 49 for i in epoch)
    flat = [i for epoch in seen for i in epoch]
    new = replayed = 0
    for index in flat:
        new, replayed = new + (index < 40), replayed + (index >= 40)
        assert -1 - share < replayed - new * share < 1, "evenly among the new ones, at any point"
    assert abs(replayed - 120 * share) < 1
    batches = [b for epoch in range(3) for b in made.epoch(epoch)]
    assert sum(len(b.indices) < batch_size for b in batches) <= 3, "one short batch an epoch"
    in_batches = [sum(i >= 40 for i in b.indices) for b in batches]
    assert sum(in_batches) / sum(len(b.indices) for b in batches) == pytest.approx(ratio, abs=0.01)
    assert max(in_batches) <= math.ceil(batch_size * ratio) + 1


def test_the_share_is_exact_on_average_where_a_block_is_shorter_than_a_turn() -> None:
    """Three new examples ask for three quarters of a replay."""
    counts = [len(indices(order(new=3, stage=stage), 0)) - 3 for stage in range(1000)]
    assert set(counts) == {0, 1}
    assert sum(counts) / 1000 == pytest.approx(0.75, abs=0.04)


def test_each_epoch_and_stage_draws_its_own_and_none_twice_before_all() -> None:
    made = order(new=120, kept=9)
    drawn = [[i for i in indices(made, epoch) if i >= 120] for epoch in range(2)]
    for replays in drawn:
        assert len(replays) in (30, 31)
        for start in range(0, 27, 9):
            assert sorted(islice(replays, start, start + 9)) == list(range(120, 129))
    later = [i for i in indices(order(new=120, kept=9, stage=2), 0) if i >= 120]
    assert drawn[0] != drawn[1]
    assert drawn[0] != later
    assert indices(made, 1) == indices(order(new=120, kept=9), 1)


@pytest.mark.parametrize("shuffle", [True, False])
def test_new_examples_come_in_the_order_they_have_without_replay(shuffle: bool) -> None:
    made = order(shuffle=shuffle)
    alone = [i for batch in made.new.epoch(1) for i in batch.indices]
    assert [i for i in indices(made, 1) if i < 40] == alone
    assert (alone == list(range(40))) is not shuffle


@pytest.mark.parametrize("nothing", [{"kept": 0}, {"ratio": 0.0}])
def test_with_nothing_to_replay_the_order_is_that_of_the_new(nothing: dict[str, float]) -> None:
    made = order(**nothing)
    assert made.epoch(1) == made.new.epoch(1)
    assert made.windows() == made.new.windows()
    assert made.totals(10, 1) == (40, 0)


def test_totals_count_what_was_seen_when_training_stopped() -> None:
    made = order(new=10, kept=3, batch_size=2)
    steps = [len(optimizer_steps(made, epoch, 3)) for epoch in range(2)]
    new, replayed = made.totals(sum(steps), 3)
    assert new == 20
    assert replayed == len(indices(made, 0)) + len(indices(made, 1)) - 20 == 5
    assert sum(made.totals(1, 3)) == 6
    assert sum(made.totals(steps[0] + 1, 3)) == len(indices(made, 0)) + 6


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 20])
def test_a_share_that_cannot_be_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match=f"replay ratio {ratio}.*from 0 to below 1"):
        order(ratio=ratio)
