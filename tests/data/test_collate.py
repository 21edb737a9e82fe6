from __future__ import annotations

import torch

from tokmem.data.collate import IGNORE, collate, left_pad, right_pad
from tokmem.records import Encoded

LONG = Encoded((2, 5, 6, 90, 91, 7, 1), (False, False, False, True, False, True, True), 3)
SHORT = Encoded((2, 92, 1), (False, True, True), 1)


def test_left_padding_counts_positions_from_each_own_start() -> None:
    ids, mask, positions = left_pad([(5, 6, 7), (8,)], pad=9)
    assert ids.tolist() == [[5, 6, 7], [9, 9, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]


def test_right_padding() -> None:
    ids, mask = right_pad([(5, 6, 7), (8,)], pad=9)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [8, 9, 9]], [[1, 1, 1], [1, 0, 0]])


def test_suffixes_alone() -> None:
    batch = collate([LONG, SHORT], whole=False)
    assert batch.ids.tolist() == [[90, 91, 7], [92, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.targets.tolist() == [[90, IGNORE, 7, 1], [92, 1, IGNORE, IGNORE]]
    assert batch.starts.tolist() == [3, 1]


def test_whole_sequences() -> None:
    batch = collate([LONG, SHORT], whole=True)
    assert batch.ids.tolist() == [[2, 5, 6, 90, 91, 7], [2, 92, 0, 0, 0, 0]]
    assert batch.targets.tolist() == [
        [IGNORE, IGNORE, IGNORE, 90, IGNORE, 7, 1],
        [IGNORE, 92, 1, IGNORE, IGNORE, IGNORE, IGNORE],
    ]
    assert batch.starts.tolist() == [0, 0]
    moved = batch.to(torch.device("meta"))
    assert {t.device.type for t in (moved.ids, moved.mask, moved.targets, moved.starts)} == {"meta"}
