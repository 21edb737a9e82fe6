"""Measures whether routing probabilities can be trusted, and how well unknown queries are detected."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from tokmem.errors import DataError


class RiskPoint(NamedTuple):
    """What happens if only the surest queries are answered.

    Attributes:
        coverage: share of the queries that are answered.
        risk: share of the answered ones that are routed wrongly.
    """

    coverage: float
    risk: float


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, over equal bins.

    sum_b n_b / N |accuracy_b - confidence_b| (Guo et al. 2017, arXiv 1706.04599).

    Args:
        confidences: probability of the chosen procedure of each of N queries, 0 to 1.
        right: whether it was the right one.
        bins: number of bins of equal width.

    Raises:
        DataError: no queries, or lengths that differ.
    """
    _check(confidences, right)
    groups: list[list[float]] = [[] for _ in range(bins)]
    for confidence, hit in zip(confidences, right, strict=True):
        groups[min(int(confidence * bins), bins - 1)].append(hit - confidence)
    return sum(abs(sum(gaps)) for gaps in groups) / len(confidences)


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[RiskPoint]:
    """The risk of answering the k surest queries alone, for every k; equal confidences count together.

    Args:
        confidences: of N queries; any score that rises with certainty.
        right: whether each was routed rightly.

    Raises:
        DataError: no queries, or lengths that differ.
    """
    _check(confidences, right)
    ranked = sorted(zip(confidences, right, strict=True), key=lambda pair: -pair[0])
    points, wrong = [], 0
    for count, (confidence, hit) in enumerate(ranked, 1):
        wrong += not hit
        if count == len(ranked) or ranked[count][0] != confidence:
            points.append(RiskPoint(count / len(ranked), wrong / count))
    return points


def auroc(known: Sequence[float], unknown: Sequence[float]) -> float:
    """Area under the ROC curve: how often a known query scores above an unknown one; ties count half.

    Args:
        known: scores of queries that some procedure fits.
        unknown: scores of queries that none fits.

    Raises:
        DataError: one of the two is empty.
    """
    if not known or not unknown:
        raise DataError(f"{len(known)} known and {len(unknown)} unknown queries", "at least one of each")
    ranked = sorted(unknown)
    below = sum(bisect_left(ranked, score) + bisect_right(ranked, score) for score in known)
    return below / (2 * len(known) * len(unknown))


def _check(confidences: Sequence[float], right: Sequence[bool]) -> None:
    if not confidences or len(confidences) != len(right):
        raise DataError(
            f"{len(confidences)} confidences of {len(right)} queries", "one a query, at least one"
        )
