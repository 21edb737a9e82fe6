"""How often queries reach their procedure. All rates are in percent.

Two questions are kept apart: which memory token the model prefers (Eq. 4, the argmax among memory tokens),
and whether the query is rejected, as `Route.rejected` decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from tokmem.errors import DataError
from tokmem.records import Route


@dataclass(frozen=True)
class RoutingRates:
    """Rates over a set of queries, in percent.

    Attributes:
        queries: number of queries.
        accuracy: how often the argmax among memory tokens is right (Eq. 4).
        accuracy_over_all: how often the argmax among memory tokens is right; a rejected query is wrong.
        reject_rate: how often a query is rejected: its fit is too low, or the argmax over the whole
            vocabulary is not a memory token (`Route.rejected`).
    """

    queries: int
    accuracy: float
    accuracy_over_all: float
    reject_rate: float


@dataclass(frozen=True)
class RoutingScores:
    """Routing of a set of queries.

    Attributes:
        overall: rates over all queries.
        per_procedure: rates over the queries of each procedure, by name.
        top_k: for each k, how often the right procedure is among the k most probable, in percent. A k is left
            out if a route names fewer candidates.
    """

    overall: RoutingRates
    per_procedure: Mapping[str, RoutingRates]
    top_k: Mapping[int, float]


class Confusion(NamedTuple):
    """How many queries of one procedure went to another."""

    expected: str
    chosen: str
    queries: int


def score_routing(
    expected: Sequence[str], routes: Sequence[Route | None], ks: Iterable[int] = (1, 3, 5)
) -> RoutingScores:
    """Scores routes against the procedures that the queries call for.

    Args:
        expected: the right procedure of each query.
        routes: where each query was routed.
        ks: sizes of candidate list to score.

    Raises:
        DataError: there is no query, the lengths differ, or a query was never routed.
    """
    pairs = _pairs(expected, routes)
    groups: dict[str, list[tuple[str, Route]]] = defaultdict(list)
    for pair in pairs:
        groups[pair[0]].append(pair)
    shortest = min(len(route.choices) for _, route in pairs)
    return RoutingScores(
        overall=_rates(pairs),
        per_procedure={name: _rates(groups[name]) for name in sorted(groups)},
        top_k={k: _top_k(pairs, k) for k in ks if k <= shortest},
    )


def confusion(expected: Sequence[str], routes: Sequence[Route | None]) -> Counter[tuple[str, str]]:
    """Counts the queries by (expected, chosen) procedure; the chosen one is the argmax of Eq. 4.

    Raises:
        DataError: as `score_routing`.
    """
    return Counter((name, route.procedure) for name, route in _pairs(expected, routes))


def reliability(
    expected: Sequence[str], routes: Sequence[Route | None], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Compares stated probabilities with what came true, in bins of equal width that hold a query.

    Args:
        expected: the right procedure of each query.
        routes: its route.
        bins: how many bins divide the probabilities from 0 to 1.

    Returns:
        for each bin: mean probability of the chosen procedure and share of right ones, both in percent, and
        the number of queries.

    Raises:
        DataError: as `score_routing`.
    """
    groups: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for name, route in _pairs(expected, routes):
        stated = route.choices[0].probability
        groups[min(bins - 1, int(stated * bins))].append((stated, route.procedure == name))
    return [
        (round(100 * fmean(p for p, _ in group), 2), round(100 * fmean(ok for _, ok in group), 2), len(group))
        for _, group in sorted(groups.items())
    ]


def most_confused(counts: Mapping[tuple[str, str], int], limit: int = 10) -> list[Confusion]:
    """Returns the pairs that are confused most often, most first; ties are sorted by name."""
    wrong = [Confusion(*pair, count) for pair, count in counts.items() if pair[0] != pair[1] and count]
    return sorted(wrong, key=lambda pair: (-pair.queries, pair.expected, pair.chosen))[:limit]


def _pairs(expected: Sequence[str], routes: Sequence[Route | None]) -> list[tuple[str, Route]]:
    if len(expected) != len(routes) or not routes:
        raise DataError(
            f"{len(routes)} routes of {len(expected)} queries", "one route a query, and at least one"
        )
    pairs = [(name, route) for name, route in zip(expected, routes, strict=True) if route and route.choices]
    if len(pairs) < len(routes):
        missing = next(i for i, route in enumerate(routes) if not route or not route.choices)
        got = f"{len(routes) - len(pairs)} queries without a route, the first at position {missing}"
        raise DataError(
            got, "a route for every query", "route these queries again; a failed one is never scored"
        )
    return pairs


def _rates(pairs: Sequence[tuple[str, Route]]) -> RoutingRates:
    right = sum(route.procedure == name for name, route in pairs)
    written = sum(route.procedure == name and not route.rejected for name, route in pairs)
    rejected = sum(route.rejected for _, route in pairs)
    count = len(pairs)
    return RoutingRates(count, 100.0 * right / count, 100.0 * written / count, 100.0 * rejected / count)


def _top_k(pairs: Sequence[tuple[str, Route]], k: int) -> float:
    found = sum(name in {choice.procedure for choice in route.choices[:k]} for name, route in pairs)
    return 100.0 * found / len(pairs)
