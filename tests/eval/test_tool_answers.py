"""Scores of a set of test queries, by number of calls and over all."""

from __future__ import annotations

import pytest

from tokmem.eval.tool_answers import ToolAnswers
from tokmem.records import Answer, Call, Choice, Example, ParsedCall, Route, Turn


def example(*tools: str) -> Example:
    return Example("q", tuple(Turn(tool, "{}") for tool in tools))


def answer(*retrieved: str) -> Answer:
    choices = tuple(Choice(tool, 0.5) for tool in retrieved)
    return Answer("q", route=Route(choices, rejected=False, memory_mass=1.0), prompt_tokens=10)


def call(name: str) -> ParsedCall:
    return ParsedCall(Call(name, {}), name, "{}")


EXAMPLES = (example("a", "b"), example("a", "c"), example("a", "b", "b"))
ANSWERS = (answer("a", "x", "y", "z"), answer("a", "c"), answer("b", "x"))
CALLS = ((call("a"), call("b")), (call("a"),), (call("a"), call("b"), call("x")))


def test_retrieval_recall_is_of_the_needed_tools_and_precision_of_the_retrieved() -> None:
    rows = {
        row["calls"]: row for row in ToolAnswers(EXAMPLES, ANSWERS, CALLS, (), 3.0, retrieves=True).rows()
    }
    assert rows[2]["retrieval_recall"] == pytest.approx(100 * (1 / 2 + 1) / 2)
    assert rows[2]["retrieval_precision"] == pytest.approx(100 * (1 / 4 + 1) / 2)
    assert rows[3]["retrieval_recall"] == pytest.approx(50), "a tool that is called twice is needed once"
    assert rows[3]["retrieval_precision"] == pytest.approx(50)
    assert rows["all"]["retrieval_recall"] == pytest.approx(100 * (1 / 2 + 1 + 1 / 2) / 3)
    assert rows["all"]["retrieval_precision"] == pytest.approx(100 * (1 / 4 + 1 + 1 / 2) / 3)


def test_only_what_retrieves_has_figures_of_retrieval() -> None:
    for row in ToolAnswers(EXAMPLES, ANSWERS, CALLS, CALLS, 3.0, retrieves=False).rows():
        assert "retrieval_recall" not in row
        assert (row["prompt_tokens_per_query"], row["queries_per_second"]) == (10, 1)


def test_tools_are_scored_by_query_and_averaged() -> None:
    rows = {
        row["calls"]: row for row in ToolAnswers(EXAMPLES, ANSWERS, CALLS, (), 3.0, retrieves=False).rows()
    }
    assert rows[2]["tool_f1"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert rows[3]["tool_f1"] == pytest.approx(100 * 2 / 3), "of two calls of b one was written"
