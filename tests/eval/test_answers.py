"""Scores of answers to queries for one procedure, and of parts of them."""

from __future__ import annotations

import pytest

from tokmem.eval.answers import ProcedureAnswers
from tokmem.records import Answer, Choice, Example, Route, Turn


def answer(text: str, *names: str) -> Answer:
    route = Route(tuple(Choice(name, 0.5) for name in names), rejected=False, memory_mass=1.0)
    return Answer("q", (Turn(names[0], text),), route=route, prompt_tokens=4)


EXAMPLES = [Example("q", (Turn(name, "right"),), id=name) for name in "aab"]
ANSWERS = ProcedureAnswers(
    EXAMPLES,
    [answer("right", "a", "b"), answer("wrong", "b", "a"), answer("right", "b", "a")],
    [answer("right", "a"), answer("right", "a"), answer("right", "b")],
    0.5,
)


def test_scores_are_means_over_procedures_free_and_forced() -> None:
    scores = ANSWERS.scores()
    assert scores["routing_accuracy"] == pytest.approx(200 / 3)
    assert (scores["exact_match"], scores["exact_match_forced"]) == (75, 100)
    assert (scores["queries_per_second"], scores["prompt_tokens_per_query"]) == (2, 4)
    assert scores["per_procedure"]["a"]["exact_match"] == 50


def test_a_part_has_the_answers_of_its_tasks() -> None:
    part = ANSWERS.of(["b"])
    assert [entry["id"] for entry in part.predictions()] == ["b"]
    assert part.scores()["routing_accuracy"] == 100
    assert ANSWERS.of([]).scores() == {
        "per_procedure": {},
        "most_confused": [],
        "confusion": [],
        "reliability": [],
    }
