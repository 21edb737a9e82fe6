"""The printed and the written form of an answer whose turns are tools."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tokmem.cli.shared import show_answer
from tokmem.records import Answer, Choice, Procedure, Route, Turn
from tokmem.report.answers import answer_record

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PROCEDURES = {
    "weather": Procedure("weather", parameters=SCHEMA),
    "time": Procedure("time", parameters=SCHEMA),
    "poem": Procedure("poem"),
}


def route(*choices: tuple[str, float]) -> Route:
    return Route(tuple(Choice(*choice) for choice in choices), False, 0.9)


FIRST, SECOND, THIRD = (
    route(("weather", 0.75), ("time", 0.25)),
    route(("time", 0.625), ("poem", 0.25)),
    route(("time", 0.5), ("poem", 0.375)),
)
TURNS = (Turn("weather", '{"city": "Oslo"}'), Turn("time", '{"city": 5}'), Turn("poem", "O Oslo"))
CHAIN = Answer("q", TURNS, route=FIRST, routes=(FIRST, SECOND, THIRD), finished=False)


def shown(capsys: pytest.CaptureFixture[str], answer: Answer, **options: bool) -> list[str]:
    show_answer(answer, PROCEDURES, **options)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_each_turn_has_its_probability_and_its_validated_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown(capsys, CHAIN) == [
        "query q",
        "recalled weather 75.0% (then time 25.0%)",
        'arguments {"city": "Oslo"} valid',
        "recalled time 62.5% (then poem 25.0%)",
        'arguments {"city": 5}',
        "not valid $.city: 5 is not of type 'string'",
        "recalled poem 37.5% (then time 50.0%)",  # sampled
        "response O Oslo [cut]",
    ]
    record = json.loads(json.dumps(answer_record(CHAIN, PROCEDURES)))
    weather, time, poem = record["turns"]
    assert (weather["arguments"], weather["error"]) == ({"city": "Oslo"}, None)
    assert "not of type" in time["error"]
    assert "arguments" not in poem
    assert [turn["routes"][0]["probability"] for turn in record["turns"]] == [0.75, 0.625, 0.5]


def test_without_routes_the_first_turn_has_the_querys_and_the_others_their_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = Answer("q", TURNS[:2], route=FIRST)
    lines = shown(capsys, answer)
    assert lines[1] == "recalled weather 75.0% (then time 25.0%)"
    assert lines[3] == "recalled time"
    assert "routes" not in answer_record(answer, PROCEDURES)["turns"][1]


def test_forced_turns_say_so_and_broken_arguments_why(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer("q", (Turn("time", '{"city'),), route=FIRST, routes=(FIRST,))
    lines = shown(capsys, answer, forced=True)
    assert lines[1] == "recalled time, forced (routing: weather 75.0%, time 25.0%)"
    assert lines[3].startswith("not valid arguments are no JSON")
    assert answer_record(answer, PROCEDURES)["turns"][0]["arguments"] is None


def test_plain_text_is_no_turn(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, Answer("q", text="hello", route=FIRST))
    assert lines[1:] == [
        "recalled no memory token: plain text was more likely (nearest: weather 75.0%)",
        "response hello",
    ]


def test_where_no_procedure_fits_the_nearest_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    route = replace(FIRST, fit=-0.25, rejected=True)
    assert shown(capsys, Answer("q", text="hello", route=route))[1] == (
        "recalled no memory token: no procedure fits (nearest: weather 75.0%)"
    )
    assert answer_record(Answer("q", text="hello", route=route), PROCEDURES)["fit"] == -0.25
    assert answer_record(Answer("q", text="hello", route=FIRST), PROCEDURES)["fit"] is None
