"""Reads tools: lists as OpenAI and MCP write them, and files of the Berkeley function-calling leaderboard.

| form | a tool |
|---|---|
| OpenAI | `{"type": "function", "function": {"name", "description", "parameters"}}`, or the inner object |
| MCP | an entry of `{"tools": [{"name", "description", "inputSchema"}]}`, the result of `tools/list` |
| Anthropic | `{"name", "description", "input_schema"}` |
| BFCL | JSON lines of such objects, or with such objects under `function`; schemas say `dict` for `object` |

The result of `tools/list` may stand in its JSON-RPC message. Several pages make a list, or JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokmem.bank.slots import check_name
from tokmem.data.coerce import schema_of
from tokmem.data.fields import expect, parse_object, read_bytes, text_lines
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import BankError, DataError
from tokmem.log import logger
from tokmem.records import Procedure
from tokmem.strict_json import parse_json

_BFCL_TYPES = {  # of Python, Java and JavaScript
    **dict.fromkeys(("dict", "HashMap", "Hashtable"), "object"),
    **dict.fromkeys(("tuple", "list", "Array", "ArrayList", "Queue", "Set", "Stack"), "array"),
    **dict.fromkeys(("byte", "short", "long", "Bigint"), "integer"),
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("char", "String"), "string"),
    **dict.fromkeys(("bool", "Boolean"), "boolean"),
}
_VALUES = ("default", "enum", "const", "examples")  # of arguments, which are no schemas
_NAMED = ("properties", "$defs", "definitions")  # schemas by name
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}
_WANTED = "a list of tools, an MCP result with `tools`, or JSON lines of tools or with `function`"
_TEXT = (
    "This function can be called:\n{tool}\n"
    "Answer the request with the arguments of one call, as a JSON object and nothing else."
)


def read_tools(path: Path) -> tuple[Lesson, ...]:
    """Reads the tools of a file, in order, each once.

    The lines of a BFCL file are separate tasks. They may use a name for several functions; the first counts.

    Raises:
        DataError: the file cannot be read, holds no tools or only a page of them, or two tools have one name.
    """
    where = str(path)
    found: dict[str, Lesson] = {}
    twice: dict[str, None] = {}
    raw_tools, separate = _raw_tools(read_bytes(path), where)
    for number, raw in enumerate(raw_tools):
        lesson = tool_lesson(expect(raw, dict, f"{where}, tool {number}"), f"{where}, tool {number}")
        if found.setdefault(lesson.name, lesson).procedure != lesson.procedure:
            twice[lesson.name] = None
    if twice and not separate:
        raise DataError(f"{where}: two tools {next(iter(twice))!r}", "different names", "rename one")
    if twice:
        logger.warning(
            "%s: %d names have several functions; the first is taken: %s", where, len(twice), [*twice]
        )
    if not found:
        raise DataError(f"{where}: no tools", _WANTED, "check the file")
    return tuple(found.values())


def tool_lesson(raw: Mapping[str, Any], where: str) -> Lesson:
    """Makes the lesson of one tool. `read_lessons` checks its schema later.

    Args:
        raw: the tool, as OpenAI, MCP or BFCL write it.
        where: its place, for messages.

    Raises:
        DataError: it has no name, or its parameters or its description have another type.
    """
    inner = raw.get("function", raw)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise DataError(f"{where}: a tool without a name", '{"name": ..., "description": ...}', "name it")
    try:
        check_name(inner["name"])
    except BankError as error:
        raise DataError(f"{where}: {error.got}", error.wanted or "", "rename the tool") from error
    given = schema_of(inner)
    given = _NO_ARGUMENTS if given is None else given
    schema = expect(given, dict, f"{where}: the schema of {inner['name']!r}")
    text = expect(inner.get("description") or "", str, f"{where}: the description of {inner['name']!r}")
    procedure = Procedure(inner["name"], text, _standard(schema))
    return Lesson(procedure, _TEXT.format(tool=_shown(procedure)), source=where)


def _raw_tools(content: bytes, where: str) -> tuple[Sequence[object], bool]:
    """The tools of a file as they stand there, and whether its lines are separate tasks."""
    try:
        value, lines = parse_json(content), False
    except ValueError as error:
        value, lines = _lines(content, where, error), True
    pages = value if isinstance(value, list) and value else [value]
    if _result(pages[-1]).get("nextCursor"):
        raise DataError(
            f"{where}: not the last page of tools",
            "all of them",
            "ask the server for the next pages too, and write all pages as a list or as JSON lines",
        )
    return _listed(value, where), lines


def _lines(content: bytes, where: str, error: ValueError) -> list[object]:
    """The values of JSON lines; fails with `error` if the first line is no value by itself."""
    lines = text_lines(content, where)
    try:
        parse_json(lines[0][1])
    except ValueError:
        raise DataError(f"{where}: {error}", _WANTED, "mend the file") from error
    return [parse_object(line, f"{where}, line {number}") for number, line in lines]


def _result(value: object) -> dict[str, Any]:
    """What stands in a JSON-RPC message, or the object itself."""
    found = value.get("result", value) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _listed(value: object, where: str) -> list[object]:
    """The tools in a value: one tool, a list, or what holds a list."""
    if isinstance(value, list):
        return [tool for one in value for tool in (_listed(one, where) if isinstance(one, dict) else [one])]
    inner = _result(value)
    if isinstance(inner.get("tools"), list):  # the list may have a name and a description of its own
        return list(inner["tools"])
    if "name" in inner or isinstance(inner.get("function"), dict) or "description" in inner:
        return [inner]
    held = inner.get("function")
    if not isinstance(held, list):
        raise DataError(f"{where}: {type(value).__name__} {value!r:.200}", _WANTED, "check the file")
    return held


def _standard(schema: Any, named: bool = False) -> Any:
    """The schema with BFCL's types replaced by those of JSON schema. Values of arguments stay as they are.

    Args:
        schema: a schema, or a part of one.
        named: whether it is an object of schemas by name, such as `properties`.
    """
    if isinstance(schema, list):
        return [_standard(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if named:
        return {name: _standard(own) for name, own in schema.items()}
    changed = {
        key: value if key in _VALUES else _standard(value, key in _NAMED) for key, value in schema.items()
    }
    kind = changed.get("type")
    kinds: list[Any] = kind if isinstance(kind, list) else [kind]
    if any(one in ("any", "Any") for one in kinds):
        del changed["type"]
    elif all(isinstance(one, str) for one in kinds):
        usual = [_BFCL_TYPES.get(one, one) for one in kinds]
        changed["type"] = usual if isinstance(kind, list) else usual[0]
    return changed


def _shown(tool: Procedure) -> str:
    facts = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return json.dumps(facts, ensure_ascii=False)
