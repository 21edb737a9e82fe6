"""What rivals read and write: calls as text, one `{"name": ..., "arguments": ...}` a line."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tokmem.data.calls.parse import calls_of, written_calls
from tokmem.data.calls.text import write_calls_text
from tokmem.methods.protocol import Method
from tokmem.methods.tokmem import TokMem
from tokmem.records import Answer, Call, Example, ParsedCall, Procedure, Turn


def expected_calls(example: Example) -> tuple[Call, ...]:
    """The calls that a query asks for, in order."""
    return tuple(Call(turn.procedure, json.loads(turn.response)) for turn in example.turns)


def as_text(example: Example) -> Example:
    """The example with one turn, whose response is its calls as text."""
    text = write_calls_text(expected_calls(example))
    return Example(example.query, (Turn(example.turns[0].procedure, text),), id=example.id)


def read_answer(method: Method, answer: Answer, tools: Mapping[str, Procedure]) -> tuple[ParsedCall, ...]:
    """The calls of an answer: TokMem's turns, or a rival's text."""
    return calls_of(answer, tools) if isinstance(method, TokMem) else written_calls(answer.response, tools)
