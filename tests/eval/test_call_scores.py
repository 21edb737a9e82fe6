"""Compares scores of calls with slow counting, and tests when calls are equal."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any

import pytest

from tokmem.errors import DataError
from tokmem.eval.call_scores import Overlap, call_rows, normalise, overlap, score_calls, score_example
from tokmem.records import Call, ParsedCall


def call(name: str, **arguments: Any) -> Call:
    return Call(name, arguments)


def parsed(*calls: Call) -> list[ParsedCall]:
    return [ParsedCall(call, call.name, "") for call in calls]


BROKEN = ParsedCall(None, "a", '{"x": ', "cut")


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"x": 1, "y": [2]}, {"y": [2], "x": 1.0}, True),
        ({"x": {"a": 1, "b": None}}, {"x": {"b": None, "a": 1}}, True),
        ({"x": " Zoe\u0308 "}, {"x": "Zo\u00eb"}, True),
        ({"x": True}, {"x": 1}, False),
        ({"x": [True]}, {"x": [1]}, False),
        ({"x": False}, {"x": 0.0}, False),
        ({"x": None}, {"x": False}, False),
        ({"x": "1"}, {"x": 1}, False),
        ({"x": [1, 2]}, {"x": [2, 1]}, False),
        ({"x": []}, {"x": {}}, False),
        ({"x": "Paris"}, {"x": "paris"}, False),
        ({"x": "2.5"}, {"x": "25"}, False),
        ({"x": 1}, {"x": 1, "y": None}, False),
    ],
)
def test_calls_are_equal_as_syntax_trees(one: dict, other: dict, equal: bool) -> None:
    first, second = normalise(Call("t", one)), normalise(Call("t", other))
    assert (first == second) is equal
    assert len({first, second}) == 2 - equal
    assert normalise(Call("u", one)) != first


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(DataError, match=r"hold \{1\}, a set"):
        normalise(call("t", x={1}))


def counted(expected: str, predicted: str) -> Overlap:
    """Pairs equal entries off one by one."""
    left, same = list(expected), 0
    for entry in predicted:
        if entry in left:
            left.remove(entry)
            same += 1
    if not expected and not predicted:
        return Overlap(100, 100, 100)
    precision = 100 * same / len(predicted) if predicted else 0.0
    recall = 100 * same / len(expected) if expected else 0.0
    f1 = 2 * precision * recall / (precision + recall) if same else 0.0
    return Overlap(precision, recall, f1)


def test_overlap_is_of_multisets() -> None:
    rng = Random(0)
    pairs = [["".join(rng.choices("ab", k=rng.randrange(5))) for _ in range(2)] for _ in range(200)]
    for expected, predicted in [("aa", "a"), ("a", "aa"), *pairs]:
        ours, oracle = overlap(expected, predicted), counted(expected, predicted)
        assert vars(ours) == pytest.approx(vars(oracle))
    assert overlap(["a", "a"], ["a"]).f1 == pytest.approx(200 / 3)


def test_order_counts_only_for_the_ordered_match() -> None:
    calls = [call("a", x=1), call("b", x=2), call("a", x=3)]
    for order in permutations(calls):
        scores = score_example(calls, parsed(*order))
        assert (scores.tools.f1, scores.calls.f1, scores.arguments.f1, scores.exact) == (100, 100, 100, 100)
        assert scores.exact_ordered == 100 * (list(order) == calls)


def test_a_tool_counts_where_its_arguments_are_broken_and_never_equals_an_empty_call() -> None:
    scores = score_example([call("a")], [BROKEN])
    assert (scores.tools.f1, scores.calls.f1, scores.arguments.f1, scores.exact) == (100, 0, 0, 0)
    assert (scores.turns, scores.invalid_json, scores.invalid_schema) == (1, 1, 0)
    nameless = ParsedCall(None, "", "{", "cut")
    assert score_example([call("a")], [*parsed(call("a")), nameless]).tools == Overlap(50, 100, 200 / 3)
    assert score_example([], [nameless]).exact == 0


def test_arguments_alone_do_not_ask_for_the_tool() -> None:
    scores = score_example([call("a", x=1), call("b", x=2)], parsed(call("a", x=2), call("c", x=1)))
    assert (scores.arguments.f1, scores.tools.f1, scores.calls.f1) == (100, 50, 0)


def test_nothing_against_nothing_is_right_and_against_something_wrong() -> None:
    assert score_example([], []).exact == score_example([], []).calls.f1 == 100
    for scores in (score_example([], parsed(call("a"))), score_example([call("a")], [])):
        assert (scores.tools.f1, scores.calls.f1, scores.exact, scores.exact_ordered) == (0, 0, 0, 0)


def test_rates_are_means_over_examples_and_by_number_of_calls() -> None:
    a, b = call("a", x=1), call("b")
    refused = ParsedCall(a, "a", "", "$.x: 1 is not of type 'string'")
    report = score_calls([[a], [a, b], [a, b]], [[refused], [], [*parsed(b), BROKEN]])
    assert report.overall.call_f1 == pytest.approx((100 + 0 + 50) / 3)
    assert report.overall.tool_f1 == pytest.approx((100 + 0 + 100) / 3)
    assert (report.by_calls[1].examples, report.by_calls[2].examples) == (1, 2)
    assert report.by_calls[2].call_f1 == 25
    assert report.overall.invalid_json == pytest.approx(100 / 3)
    assert report.overall.invalid_schema == pytest.approx(100 / 3)
    assert [score.exact for score in report.per_example] == [100, 0, 0]
    forced = score_calls([[a], [a, b], [a, b]], [parsed(a), parsed(a, b), parsed(a)])
    rows = call_rows(report, forced)
    assert [row["calls"] for row in rows] == [1, 2, "all"]
    assert rows[1]["call_f1_forced"] == pytest.approx((100 + 200 / 3) / 2)
    assert rows[2]["examples"] == 3
    assert "call_f1_forced" not in call_rows(report)[0]


@pytest.mark.parametrize(
    ("expected", "predicted", "message"),
    [
        ([], [], "0 predictions"),
        ([[call("a")]], [], "0 predictions for 1"),
        ([[], [call("a")]], [[], None], "1 examples without a prediction, the first at position 1"),
    ],
)
def test_what_was_not_recalled_is_not_scored(expected: list, predicted: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_calls(expected, predicted)
