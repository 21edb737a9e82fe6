from __future__ import annotations

import pytest

from tokmem.report.plots import spread_apart


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 5.0], [1.0, 5.0]),
        ([1.0, 1.0], [0.5, 1.5]),
        ([0.0, 0.1, 9.0], [-0.45, 0.55, 9.0]),
        ([1.0, 1.0, 1.0, 1.6], [-0.35, 0.65, 1.65, 2.65]),
    ],
)
def test_labels_move_apart_and_no_further(values: list[float], expected: list[float]) -> None:
    assert spread_apart(values, 1.0) == pytest.approx(expected)
