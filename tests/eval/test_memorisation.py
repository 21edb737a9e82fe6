from __future__ import annotations

import math

import pytest
import torch

from tokmem.errors import DataError
from tokmem.eval.memorisation import bits_gained, drift, recovered
from tokmem.eval.perplexity import TokenTally


@pytest.mark.parametrize(
    ("written", "count"), [([1, 2, 3], 3), ([1, 2], 2), ([1, 9, 3], 1), ([9, 2, 3], 0), ([1, 2, 3, 4], 3)]
)
def test_recovered_ends_at_the_first_wrong_token(written, count):
    assert recovered([1, 2, 3], written) == count


def test_bits_are_the_fall_of_the_log_loss():
    before, after = TokenTally(4 * math.log(8), 0, 4), TokenTally(4 * math.log(2), 0, 4)
    assert bits_gained(before, after) == pytest.approx(8)
    with pytest.raises(DataError, match="4 and 3"):
        bits_gained(before, TokenTally(1.0, 0, 3))


def test_drift_of_known_vectors():
    moved = drift(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 3.0], [0.0, 1.0]]))
    assert moved.norm_start == pytest.approx(1.5)
    assert moved.norm == pytest.approx(2.0)
    assert moved.cosine == pytest.approx(0.5)
    assert moved.angle == pytest.approx(45.0)
