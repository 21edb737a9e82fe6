"""Calls out of what was written: a turn's arguments, or a rival's lines of JSON.

TokMem writes a memory token and the arguments, its rivals one `{"name": ..., "arguments": ...}` a line.
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

_NAME = r'"name"\s*:\s*"((?:[^"\\\n]|\\.)*)"'
_NAMED = re.compile(_NAME)
_OPENS = re.compile(r'\{\s*["}]')  # a JSON object, not a brace in a sentence
_CALL = re.compile(rf'\{{\s*{_NAME}\s*,\s*"(?:arguments|parameters)"\s*:')
_ARGUMENTS = ("arguments", "parameters")


def calls_of(answer: Answer, procedures: Mapping[str, Procedure]) -> tuple[ParsedCall, ...]:
    """The calls of an answer, one a turn: a tool and its arguments as JSON.

    Args:
        answer: of a bank of tools.
        procedures: the tools by name; arguments are held against their schemas.

    Raises:
        RecallError: a turn's procedure is not among them.
    """
    missing = [turn.procedure for turn in answer.turns if turn.procedure not in procedures]
    if missing:
        raise RecallError(f"a turn of {missing[0]!r}", "one of the given procedures")
    return tuple(call_of(turn, procedures[turn.procedure]) for turn in answer.turns)


def call_of(turn: Turn, procedure: Procedure) -> ParsedCall:
    """The call of one turn, held against the schema of its procedure."""
    parsed = _arguments_call(turn.procedure, turn.response, turn.response)
    return _checked(parsed, {turn.procedure: procedure})


def written_calls(text: str, procedures: Mapping[str, Procedure] | None = None) -> tuple[ParsedCall, ...]:
    """The calls in a text: a line each, several on a line, in a list, in a code fence.

    Objects around calls (`tool_calls`, `function`), `parameters` for `arguments`, arguments as a string of
    JSON and none at all are understood. Other text is passed over. An object that is no call, is broken or is
    cut short gives a `ParsedCall` without a call, with the tool's name where that can be read.

    Args:
        text: what was written.
        procedures: the tools by name; arguments are held against their schemas, and other tools' are refused.
    """
    calls = _scan(text)
    return tuple(calls if procedures is None else (_checked(call, procedures) for call in calls))


def _scan(text: str) -> Iterator[ParsedCall]:
    """Every object in a text that stands in no other, as a call; of an object around calls, these."""
    around = 0  # the end of the object around calls that is being looked through
    opened = _OPENS.search(text)
    while opened:
        start = opened.start()
        end = start + 1
        try:
            value, stop = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            if start >= around:  # else it is a brace in a string
                inner = _CALL.search(text, start + 1)
                end = inner.start() if inner else len(text)
                yield _broken(text[start:end].strip(), f"no JSON object: {error}")
        else:
            if not _is_call(value) and _holds_call(value):
                around = max(around, stop)
            else:
                end = stop
                if start >= around or _is_call(value):
                    yield _named_call(value, text[start:end])
        opened = _OPENS.search(text, end)


def _is_call(value: Any) -> bool:
    named = isinstance(value, dict) and isinstance(value.get("name"), str)
    return named and any(key in value for key in _ARGUMENTS)


def _holds_call(value: Any) -> bool:
    """Whether a call stands somewhere inside."""
    nodes = [value]
    while nodes:
        node = nodes.pop()
        inner = [*node.values()] if isinstance(node, dict) else node if isinstance(node, list) else []
        if any(map(_is_call, inner)):
            return True
        nodes += inner
    return False


def _named_call(value: Mapping[str, Any], text: str) -> ParsedCall:
    """An object as a call."""
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
    return ParsedCall(None, name[1] if name else "", text, error)


def _arguments_call(name: str, arguments: str, text: str) -> ParsedCall:
    """A tool's call from the JSON of its arguments."""
    try:
        value = _DECODER.decode(arguments)
    except (ValueError, RecursionError) as error:
        return ParsedCall(None, name, text, f"arguments are no JSON: {error}")
    if not isinstance(value, dict):
        return ParsedCall(None, name, text, f"arguments are a {type(value).__name__}, no object")
    return ParsedCall(Call(name, value), name, text)


def _checked(parsed: ParsedCall, procedures: Mapping[str, Procedure]) -> ParsedCall:
    """The same, refused where the tool is unknown or its schema refuses the arguments."""
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


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
