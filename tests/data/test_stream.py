from __future__ import annotations

from itertools import pairwise

import pytest

from tokmem.data.stream import SideBySide, Stream, returning


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("count", "batch", "window"), [(23, 4, 10), (7, 3, 2), (5, 8, 64), (12, 4, 4)])
def test_an_epoch_has_every_example_once_in_batches_of_one_window(
    count: int, batch: int, window: int, shuffle: bool
) -> None:
    stream = Stream(count, batch, window, shuffle, seed=0)
    windows = stream.windows()
    size = max(batch, window // batch * batch)
    assert [len(w) for w in windows[:-1]] == [size] * (len(windows) - 1)
    for epoch in range(3):
        batches = stream.epoch(epoch)
        assert sorted(i for b in batches for i in b.indices) == list(range(count))
        assert all(set(b.indices) <= set(windows[b.window]) for b in batches)
        assert sum(len(b.indices) < batch for b in batches) <= 1
        used = [b.window for b in batches]
        assert len(windows) == 1 + sum(a != b for a, b in pairwise(used))


def test_epochs_and_seeds_differ_and_each_is_reproducible() -> None:
    stream = Stream(40, 4, 8, True, seed=0)
    assert stream.epoch(1) == Stream(40, 4, 8, True, seed=0).epoch(1)
    assert stream.epoch(0) != stream.epoch(1)
    assert stream.epoch(0) != Stream(40, 4, 8, True, seed=1).epoch(0)
    assert stream.windows() != Stream(40, 4, 8, True, seed=1).windows()
    assert [b.window for b in stream.epoch(0)] != [b.window for b in stream.epoch(1)]


def test_without_shuffling_examples_run_as_they_stand() -> None:
    batches = Stream(10, 3, 6, False, seed=5).epoch(2)
    assert [b.indices for b in batches] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9,)]


@pytest.mark.parametrize(("procedures", "count", "window"), [(3, 7, 8), (1, 5, 64), (6, 4, 2)])
def test_side_by_side_every_step_takes_one_example_of_every_procedure(
    procedures: int, count: int, window: int
) -> None:
    order = SideBySide(procedures, count, window, True, seed=0)
    windows = order.windows()
    assert sorted(i for w in windows for i in w) == list(range(procedures * count))
    batches = order.epoch(1)
    assert sorted(i for b in batches for i in b.indices) == list(range(procedures * count))
    for batch in batches:
        assert [i // count for i in batch.indices] == list(range(procedures))
        assert set(batch.indices) <= set(windows[batch.window])


def test_side_by_side_the_turns_do_not_depend_on_the_other_procedures() -> None:
    alone, among = (SideBySide(n, 9, 8, True, seed=3).epoch(2) for n in (1, 5))
    assert [b.indices[0] for b in alone] == [b.indices[0] for b in among]
    assert [b.indices[0] for b in alone] != list(range(9))


def test_windows_return_where_procedures_train_side_by_side_in_any_order() -> None:
    """Batches of a stream leave a window once they have left it."""
    order = SideBySide(2, 32, 16, True, seed=0)
    assert returning(order.epoch(0)) == {0, 1, 2, 3}
    assert returning(SideBySide(2, 32, 16, False, seed=0).epoch(0)) == set()
    assert returning(Stream(64, 4, 16, True, seed=0).epoch(0)) == set()
