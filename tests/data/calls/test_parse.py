"""Calls as turns and as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tokmem.data.calls.parse import calls_of, written_calls
from tokmem.data.calls.text import write_calls_text
from tokmem.errors import RecallError
from tokmem.records import Answer, Call, Procedure, Turn

WEATHER = Procedure(
    "weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
PROCEDURES = {"weather": WEATHER, "free": Procedure("free")}
PARIS, OSLO = Call("weather", {"city": "Paris"}), Call("weather", {"city": "Oslo", "days": 2})
A, B = write_calls_text([PARIS]), write_calls_text([OSLO])
A_BACK = json.dumps({"arguments": PARIS.arguments, "name": PARIS.name})


def answer(*turns: tuple[str, str]) -> Answer:
    return Answer("q", tuple(Turn(*turn) for turn in turns))


def test_a_turn_is_a_tool_and_its_arguments() -> None:
    first, second = calls_of(
        answer(("weather", ' {"days": 2.0, "city": "Oslo"}\n'), ("free", "{}")), PROCEDURES
    )
    assert (first.call, first.error) == (OSLO, None)
    assert (second.call, second.error) == (Call("free", {}), None)


@pytest.mark.parametrize(
    ("response", "is_json", "error"),
    [
        ('{"city": 5}', True, "$.city: 5 is not of type 'string'"),
        ("{}", True, "'city' is a required property"),
        ('{"city": "Oslo", "moon": 1}', True, "moon"),
        ('{"city": "Os', False, "no JSON"),
        ('{"city": "Oslo"} and so on', False, "Extra data"),
        ('{"city": NaN}', False, "NaN is no JSON value"),
        ('{"city": 1e999}', False, "the number 1e999 is too large"),
        ('["Oslo"]', False, "a list, no object"),
        ("", False, "no JSON"),
        ('{"city": ' * 5_000, False, "no JSON"),
        ('{"days": ' + "9" * 5_000 + "}", False, "no JSON"),
    ],
)
def test_invalid_arguments_keep_the_tool_and_say_why(response: str, is_json: bool, error: str) -> None:
    [parsed] = calls_of(answer(("weather", response)), PROCEDURES)
    assert (parsed.name, parsed.text, parsed.call is not None) == ("weather", response, is_json)
    assert error in (parsed.error or "")


def test_a_turn_of_an_unknown_procedure_is_the_callers_mistake() -> None:
    with pytest.raises(RecallError, match="'weather'"):
        calls_of(answer(("weather", "{}")), {})


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n{B}",
        f"{A} {B}",
        f"{A}, {B}.",
        f"[{A}, {B}]",
        f"```json\n[\n  {A},\n  {B}\n]\n```\nThese are {{two}} calls, see [1].",
        f"1. {A}\n2. {B}",
        json.dumps(json.loads(f"[{A}, {B}]"), indent=2),
        f'{{"tool_calls": [{{"type": "function", "function": {A}}}, {{"function": {B}}}]}}',
        f'{{"note": "{{}} {{", "id": {{"n": 1}}, "calls": [{{"function": {A_BACK}}}, [{B}], {{}}]}}',
        f'{{"name": "assistant", "tool_calls": [{A_BACK}, {B}]}}',
        f"{A_BACK}\n{B}",
        f"{A}\n{B}".replace("arguments", "parameters"),
        f"{A}\n" + json.dumps({"name": OSLO.name, "arguments": json.dumps(OSLO.arguments)}),
    ],
)
def test_calls_are_found_however_they_are_set_out(text: str) -> None:
    assert [parsed.call for parsed in written_calls(text, PROCEDURES)] == [PARIS, OSLO]
    assert not any(parsed.error for parsed in written_calls(text, PROCEDURES))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f'{{"tool_calls": [{A}, {{"name": "sun"}}]}}', ["weather", "sun"]),
        ('{"tool_calls": [{"name": "sun", "id": "1", "type": "function"}]}', ["sun"]),
        ('{"function": {"name": "sun"}}', ["sun"]),
        (f'{{"user": {{"name": "Bob"}}, "tool_calls": [{A}]}}', ["weather"]),
        (f'{{"tool_calls": [{A}, {{"name": "Bob", "age": 5}}]}}', ["weather"]),
        ('{"tool_calls": [{"name": "sun"}], "user": {"name": "sun"}}', ["sun"]),
    ],
)
def test_a_call_without_arguments_counts_where_calls_stand(text: str, names: list[str]) -> None:
    assert [parsed.name for parsed in written_calls(text)] == names
    assert all(parsed.call for parsed in written_calls(text))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ('{"x": ' + "[" * 600 + "]" * 600 + "}", "nests deeper"),
        ('{"x": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_what_could_not_be_written_again_is_no_call(arguments: str, error: str) -> None:
    [written] = written_calls(f'{{"name": "weather", "arguments": {arguments}}}')
    [given] = calls_of(answer(("weather", arguments)), PROCEDURES)
    for parsed in (written, given):
        assert (parsed.call, parsed.name) == (None, "weather")
        assert error in parsed.error


def test_the_name_of_a_broken_call_is_read_as_json() -> None:
    [parsed] = written_calls('{"name": "caf\\u00e9", "arguments": {"a": }}')
    assert parsed.name == "café"


@pytest.mark.parametrize("text", ["", "I cannot do that.", "Use {city} or [1]."])
def test_plain_text_holds_no_call(text: str) -> None:
    assert written_calls(text) == ()


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ('{"name": "weather", "arguments": {"city": "Par', "weather"),
        ('{"name": "weather", "arguments": {"name": "Bob"}', "weather"),
        ('{"name": "weather", "arguments": [1]}', "weather"),
        ('{"name": "weather", "arguments": "city"}', "weather"),
        ('{"tool": "weather"}', ""),
        ('{"tool": "weather", "arguments": {"name": "Bob"}}', ""),
        ('{"name": 5, "arguments": {}}', ""),
        ("{}", ""),
    ],
)
def test_a_broken_call_is_told_and_hides_no_later_one(broken: str, name: str) -> None:
    first, second = written_calls(f"{broken}\n{B}")
    assert (first.call, first.name, second.call) == (None, name, OSLO)
    assert first.error
    assert first.text == broken
    [alone] = written_calls(broken)
    assert (alone.call, alone.name) == (None, name)


def test_a_call_in_another_object_keeps_its_own_text() -> None:
    [parsed] = written_calls(f'{{"type": "function", "function": {A_BACK}}}')
    assert (parsed.call, parsed.text) == (PARIS, A_BACK)


def test_tools_and_schemas_are_checked_where_procedures_are_given() -> None:
    text = '{"name": "weather", "arguments": {"city": 5}} {"name": "sun", "arguments": {}}'
    assert [parsed.error for parsed in written_calls(text)] == [None, None]
    wrong, unknown = written_calls(text, PROCEDURES)
    assert "$.city" in (wrong.error or "")
    assert unknown.error == "no such tool"
    assert wrong.call is not None


def test_written_text_reads_back() -> None:
    values: list[Any] = [
        'a "b"\n{"name": "x", "arguments": {}}',
        "Zoë \\ ```",
        None,
        True,
        1.5,
        [{"name": "y"}],
        {},
    ]
    calls = [Call(f"t{n}", {"name": value, "x": n}) for n, value in enumerate(values)]
    assert [parsed.call for parsed in written_calls(write_calls_text(calls))] == calls
