"""Writes calls and their arguments as text, always in the same style."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tokmem.records import Call

CallStyle = Literal["plain", "hermes"]
HERMES_END = "}\n</tool_call>"
"""What closes a call that a Hermes parser opened with `<tool_call>` and an object of name and arguments."""


def arguments_json(arguments: Mapping[str, Any]) -> str:
    """Writes arguments as one line of JSON: keys in the order given, a blank after each comma and colon."""
    return json.dumps(arguments, ensure_ascii=False, separators=(", ", ": "))


def write_calls_text(calls: Iterable[Call]) -> str:
    """Writes calls as rival methods must write them, one a line; `parse.written_calls` reads them back."""
    return "\n".join(
        f'{{"name": {json.dumps(call.name)}, "arguments": {arguments_json(call.arguments)}}}'
        for call in calls
    )
