"""Parses calls from generated text: from a turn's arguments, or from a rival method's lines of JSON.

TokMem writes a memory token and the arguments. Its rivals write one `{"name": ..., "arguments": ...}` a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from tokmem.data.calls.schema_check import argument_error
from tokmem.errors import RecallError
from tokmem.records import Answer, Call, ParsedCall, Procedure, Turn
from tokmem.strict_json import finite, parse_json, refuse_unwritable

_NAME = r'"name"\s*:\s*"((?:[^"\\\n]|\\.)*)"'
_NAMED = re.compile(_NAME)
_OPENS = re.compile(r'\{\s*["}]')  # a JSON object, not a brace in a sentence
_CALL = re.compile(rf'\{{\s*{_NAME}\s*,\s*"(?:arguments|parameters)"\s*:')
_ARGUMENTS = ("arguments", "parameters")
_OF_CALLS = ("tool_calls", "function_calls", "function_call", "function", "calls")  # keys that hold calls
_BARE = {"name", "id", "type", "index"}  # keys of a call without arguments


def calls_of(answer: Answer, procedures: Mapping[str, Procedure]) -> tuple[ParsedCall, ...]:
    """Parses the calls of an answer, one a turn; a turn is a tool and its arguments as JSON.

    Args:
        answer: an answer from a bank of tools.
        procedures: the tools by name; their schemas check the arguments.

    Returns:
        One call a turn.

    Raises:
        RecallError: a turn's procedure is not among them.
    """
    missing = [turn.procedure for turn in answer.turns if turn.procedure not in procedures]
    if missing:
        raise RecallError(f"a turn of {missing[0]!r}", "one of the given procedures")
    return tuple(call_of(turn, procedures[turn.procedure]) for turn in answer.turns)


def call_of(turn: Turn, procedure: Procedure) -> ParsedCall:
    """Parses the call of one turn and checks it against the schema of its procedure."""
    parsed = _arguments_call(turn.procedure, turn.response, turn.response)
    return _checked(parsed, {turn.procedure: procedure})


def written_calls(text: str, procedures: Mapping[str, Procedure] | None = None) -> tuple[ParsedCall, ...]:
    """Parses the calls in a text: one a line, several on a line, in a list, or in a code fence.

    Calls may stand inside other objects (`tool_calls`, `function`). `parameters` may stand for `arguments`,
    and arguments may be a string of JSON or be absent. All other text is skipped. An object that is not a
    call, is broken or is cut short becomes a `ParsedCall` without a call, with the tool's name if it can be
    read.

    Args:
        text: the generated text.
        procedures: the tools by name, to check calls against; None checks nothing.

    Returns:
        The calls, in order.
    """
    calls = _scan(text)
    return tuple(calls if procedures is None else (_checked(call, procedures) for call in calls))


def _scan(text: str) -> Iterator[ParsedCall]:
    """Parses each outermost JSON object as a call; unwraps objects that contain calls."""
    around = 0  # where the object that wraps the present calls ends
    wrapped: list[Any] = []  # the calls in it
    opened = _OPENS.search(text)
    while opened:
        start = opened.start()
        end = start + 1
        try:
            value, stop = _DECODER.raw_decode(text, start)
            refuse_unwritable(value)
        except (ValueError, RecursionError) as error:
            if start >= around:  # otherwise the brace is part of a string
                inner = _CALL.search(text, start + 1)
                end = inner.start() if inner else len(text)
                yield _broken(text[start:end].strip(), f"no JSON object: {error}")
        else:
            inside = [] if _is_call(value) else _calls_within(value)
            if inside:
                around, wrapped = max(around, stop), wrapped + inside
            else:
                end = stop
                within = start < around
                if not within or value in wrapped:
                    yield _named_call(value, text[start:end])
                if within and value in wrapped:
                    wrapped.remove(value)
        opened = _OPENS.search(text, end)


def _is_call(value: Any) -> bool:
    named = isinstance(value, dict) and isinstance(value.get("name"), str)
    return named and any(key in value for key in _ARGUMENTS)


def _calls_within(value: Any) -> list[Any]:
    """Finds the calls inside a value. It does not look inside a call for others."""
    found: list[Any] = []
    nodes = [(value, False)]
    while nodes:
        node, is_list_of_calls = nodes.pop()
        pairs = node.items() if isinstance(node, dict) else [("", one) for one in node]
        for key, inner in pairs:
            expected = key in _OF_CALLS or (is_list_of_calls and isinstance(node, list))
            if _is_call(inner) or (expected and _is_bare_call(inner)):
                found.append(inner)
            elif isinstance(inner, dict | list):
                nodes.append((inner, expected))
    return found


def _is_bare_call(value: Any) -> bool:
    """Whether a value that should be a call names a tool and gives no arguments."""
    return isinstance(value, dict) and isinstance(value.get("name"), str) and value.keys() <= _BARE


def _named_call(value: Mapping[str, Any], text: str) -> ParsedCall:
    """Reads an object as a call."""
    name = value.get("name")
    if not isinstance(name, str) or not name:
        return ParsedCall(None, "", text, 'no tool\'s name under "name"')
    arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    if isinstance(arguments, str):
        return _arguments_call(name, arguments, text)
    if not isinstance(arguments, dict):
        return ParsedCall(None, name, text, f"arguments are a {type(arguments).__name__}, no object")
    return ParsedCall(Call(name, arguments), name, text)


def _broken(text: str, error: str) -> ParsedCall:
    name = _NAMED.search(text)
    return ParsedCall(None, _unescaped(name[1]) if name else "", text, error)


def _unescaped(text: str) -> str:
    """The text that stands between the quotes of a JSON string; as it is if it cannot be read or written."""
    try:
        return str(parse_json(f'"{text}"'))
    except ValueError:
        return text


def _arguments_call(name: str, arguments: str, text: str) -> ParsedCall:
    """Reads a tool's call from the JSON of its arguments."""
    try:
        value = _DECODER.decode(arguments)
        refuse_unwritable(value)
    except (ValueError, RecursionError) as error:
        return ParsedCall(None, name, text, f"arguments are no JSON: {error}")
    if not isinstance(value, dict):
        return ParsedCall(None, name, text, f"arguments are a {type(value).__name__}, no object")
    return ParsedCall(Call(name, value), name, text)


def _checked(parsed: ParsedCall, procedures: Mapping[str, Procedure]) -> ParsedCall:
    """Adds an error to a call if its tool is unknown or the tool's schema refuses the arguments."""
    if parsed.call is None:
        return parsed
    procedure = procedures.get(parsed.name)
    if procedure is None:
        return replace(parsed, error="no such tool")
    if procedure.parameters is None:
        return parsed
    error = argument_error(procedure.parameters, parsed.call.arguments)
    return parsed if error is None else replace(parsed, error=error)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=finite)
