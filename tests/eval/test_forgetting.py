from __future__ import annotations

import pytest

from tokmem.errors import DataError
from tokmem.eval.forgetting import forgetting_matrix, mean_forgetting

SCORES = {(1, 1): 90.0, (1, 2): 95.0, (1, 3): 70.0, (2, 2): 80.0, (2, 3): 85.0, (3, 3): 60.0}


def test_a_row_a_round_learned_and_a_column_a_round_after() -> None:
    assert forgetting_matrix(SCORES) == [[90, 95, 70], [None, 80, 85], [None, None, 60]]


def test_forgetting_is_the_fall_from_the_best_of_earlier_rounds() -> None:
    matrix = forgetting_matrix(SCORES)
    assert mean_forgetting(matrix) == pytest.approx(((95 - 70) + (80 - 85)) / 2)
    assert mean_forgetting(matrix, after=2) == 90 - 95
    assert mean_forgetting(matrix, after=1) is None


def test_what_was_not_measured_is_left_out() -> None:
    assert mean_forgetting(forgetting_matrix({(1, 1): 90, (3, 3): 60})) is None
    assert mean_forgetting(forgetting_matrix({(1, 1): 90, (1, 3): 70, (3, 3): 60})) == 20


@pytest.mark.parametrize("scores", [{}, {(2, 1): 5.0}, {(0, 1): 5.0}])
def test_rounds_are_measured_once_learned(scores: dict) -> None:
    with pytest.raises(DataError, match="round"):
        forgetting_matrix(scores)
