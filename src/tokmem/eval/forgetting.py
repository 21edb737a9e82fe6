"""Forgetting: what later rounds take from earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from tokmem.errors import DataError

Matrix = Sequence[Sequence[float | None]]


def forgetting_matrix(scores: Mapping[tuple[int, int], float]) -> list[list[float | None]]:
    """Arranges the scores of each round's test set after each round.

    Args:
        scores: score of round `learned`'s test set after round `after`, by (learned, after), counted from 1.

    Returns:
        R x R: row i, column j is round i's score after round j; None if it was not measured.

    Raises:
        DataError: there is no score, or a round was scored before it was learned.
    """
    if not scores:
        raise DataError("no score of any round", "scores of each round after it and after later ones")
    early = [(learned, after) for learned, after in scores if not 1 <= learned <= after]
    if early:
        got = f"a score of round {early[0][0]} after round {early[0][1]}"
        raise DataError(got, "rounds counted from 1, measured after they are learned")
    rounds = range(1, max(after for _, after in scores) + 1)
    return [[scores.get((learned, after)) for after in rounds] for learned in rounds]


def mean_forgetting(matrix: Matrix, after: int | None = None) -> float | None:
    """Returns how far earlier rounds have fallen from their best, in points; below 0 if they have gained.

    F = mean over i < j of (max over i <= k < j of a_ik) - a_ij, where a_ij is round i's score after round j.
    Source: Chaudhry et al. 2018, arXiv 1801.10112, section 3.

    Args:
        matrix: a matrix of `forgetting_matrix`.
        after: round j; None takes the last.

    Returns:
        The mean; None if no earlier round was measured both before and after round j.
    """
    last = (after or len(matrix)) - 1
    falls = []
    for row in matrix[:last]:
        before, now = [score for score in row[:last] if score is not None], row[last]
        if before and now is not None:
            falls.append(max(before) - now)
    return fmean(falls) if falls else None
