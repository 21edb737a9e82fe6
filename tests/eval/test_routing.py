from __future__ import annotations

from collections import Counter

import pytest

from tokmem.errors import DataError
from tokmem.eval.routing import Confusion, RoutingRates, confusion, most_confused, reliability, score_routing
from tokmem.records import Choice, Route


def route(*names: str, rejected: bool = False) -> Route:
    return Route(tuple(Choice(name, 1 / (i + 2)) for i, name in enumerate(names)), rejected, 0.9)


EXPECTED = ["a", "a", "a", "b"]
ROUTES = [
    route("a", "b", "c"),
    route("a", "c", "b", rejected=True),
    route("c", "a", "b"),
    route("c", "a", "b"),
]


def test_rejection_costs_accuracy_over_all_and_not_among_memory_tokens() -> None:
    scores = score_routing(EXPECTED, ROUTES, ks=(1, 2, 3, 4))
    assert scores.overall == RoutingRates(4, accuracy=50.0, accuracy_over_all=25.0, reject_rate=25.0)
    assert scores.per_procedure == {
        "a": RoutingRates(3, pytest.approx(200 / 3), pytest.approx(100 / 3), pytest.approx(100 / 3)),
        "b": RoutingRates(1, 0.0, 0.0, 0.0),
    }


def test_top_k_counts_the_first_k_and_never_more_than_were_measured() -> None:
    assert score_routing(EXPECTED, ROUTES, ks=(1, 2, 3, 4)).top_k == {1: 50.0, 2: 75.0, 3: 100.0}


def test_a_wrong_and_rejected_query_is_one_reject_and_no_hit() -> None:
    rates = score_routing(["a"], [route("b", rejected=True)]).overall
    assert rates == RoutingRates(1, 0.0, 0.0, 100.0)


def test_confusion_is_directed_and_ordered_by_count_then_name() -> None:
    counts = confusion([*EXPECTED, "b"], [*ROUTES, route("c")])
    assert counts == Counter({("a", "a"): 2, ("b", "c"): 2, ("a", "c"): 1})
    assert most_confused(counts) == [Confusion("b", "c", 2), Confusion("a", "c", 1)]
    assert most_confused({("b", "a"): 1, ("a", "b"): 1}, limit=1) == [Confusion("a", "b", 1)]


def test_stated_probabilities_are_compared_with_what_came_true() -> None:
    stated = [0.95, 0.93, 1.0, 0.32, 0.38]
    routes = [Route((Choice("a", share), Choice("b", 1 - share)), False, 0.9) for share in stated]
    assert reliability(["a", "b", "a", "a", "b"], routes) == [(35.0, 50.0, 2), (96.0, 66.67, 3)]


@pytest.mark.parametrize(
    ("expected", "routes", "message"),
    [
        ([], [], "0 routes"),
        (["a", "b"], [route("a")], "1 routes of 2"),
        (["a", "b"], [route("a"), None], "position 1"),
        (["a"], [Route((), True, 0.0)], "position 0"),
    ],
)
def test_what_was_not_routed_is_not_scored(
    expected: list[str], routes: list[Route | None], message: str
) -> None:
    for function in (score_routing, confusion, reliability):
        with pytest.raises(DataError, match=message):
            function(expected, routes)
