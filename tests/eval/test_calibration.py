from __future__ import annotations

from random import Random

import pytest

from tokmem.errors import DataError
from tokmem.eval.calibration import RiskPoint, auroc, calibration_error, risk_coverage


def test_honest_probabilities_have_no_error_and_boasting_ones_have() -> None:
    draws = Random(0)
    confidences = [draws.random() for _ in range(20000)]
    right = [draws.random() < confidence for confidence in confidences]
    assert calibration_error(confidences, right) < 0.01
    boasting = [(1 + confidence) / 2 for confidence in confidences]
    assert calibration_error(boasting, right) == pytest.approx(0.25, abs=0.01)


def test_the_error_is_a_mean_over_bins() -> None:
    # One bin: two right of four at 0.85. The last bin: one wrong at 1.0, which belongs to it.
    confidences, right = [0.85, 0.85, 0.85, 0.85, 1.0], [True, True, False, False, False]
    assert calibration_error(confidences, right) == pytest.approx((4 * 0.35 + 1) / 5)


def test_risk_falls_where_sure_queries_are_right() -> None:
    points = risk_coverage([0.9, 0.2, 0.8, 0.8], [True, False, True, False])
    assert points == [RiskPoint(0.25, 0.0), RiskPoint(0.75, pytest.approx(1 / 3)), RiskPoint(1.0, 0.5)]


def test_the_area_counts_pairs() -> None:
    assert auroc([3.0, 2.0], [1.0, 2.0]) == pytest.approx((4 - 0.5) / 4)
    known, unknown = [0.1 * i for i in range(7)], [0.3, 0.35, -1.0, 0.3]
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in unknown]
    assert auroc(known, unknown) == pytest.approx(sum(pairs) / len(pairs))


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(DataError, match="0 known"):
        auroc([], [1.0])
    for measure in (calibration_error, risk_coverage):
        with pytest.raises(DataError, match="1 confidences of 2"):
            measure([0.5], [True, False])
