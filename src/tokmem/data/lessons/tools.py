"""Reads tools: lists as OpenAI and MCP write them, and files of the Berkeley function-calling leaderboard.

| form | a tool |
|---|---|
| OpenAI | `{"type": "function", "function": {"name", "description", "parameters"}}`, or the inner object |
| MCP | an entry of `{"tools": [{"name", "description", "inputSchema"}]}`, the result of `tools/list` |
| BFCL | JSON lines of such objects, or with such objects under `function`; schemas say `dict` for `object` |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokmem.data.calls.schema_check import check_schema
from tokmem.data.coerce import as_procedures
from tokmem.data.fields import expect, parse_object, read_bytes, text_lines
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import DataError
from tokmem.log import logger
from tokmem.records import Procedure
from tokmem.strict_json import parse_json

_BFCL_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_WANTED = "a list of tools, an MCP result with `tools`, or JSON lines of tools or with `function`"
_TEXT = (
    "This function can be called:\n{tool}\n"
    "Answer the request with the arguments of one call, as a JSON object and nothing else."
)


def read_tools(path: Path) -> tuple[Lesson, ...]:
    """Reads the tools of a file, in order, each once.

    The lines of a BFCL file are separate tasks. They may use a name for several functions; the first counts.

    Raises:
        DataError: the file cannot be read, holds no tools or only a page of them, a schema is none, or two
            tools have one name.
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
    """Makes the lesson of one tool.

    Args:
        raw: the tool, as OpenAI, MCP or BFCL write it.
        where: its place, for messages.

    Raises:
        DataError: it has no name, or its parameters are no schema of an object.
    """
    inner = raw.get("function", raw)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise DataError(f"{where}: a tool without a name", '{"name": ..., "description": ...}', "name it")
    schema = inner.get("parameters", inner.get("inputSchema", {"type": "object", "properties": {}}))
    expect(schema, dict, f"{where}: the schema of {inner['name']!r}")
    procedure = as_procedures({**inner, "parameters": _standard(schema)})[0]
    check_schema(procedure, where)
    return Lesson(procedure, _TEXT.format(tool=_shown(procedure)), source=where)


def _raw_tools(content: bytes, where: str) -> tuple[Iterable[object], bool]:
    """The tools of a file as they stand there, and whether its lines are separate tasks."""
    try:
        value = parse_json(content)
    except ValueError as error:
        rows = [(parse_object(line, f"{where}, line {n}"), n) for n, line in text_lines(content, where)]
        if not all("function" in row or "name" in row for row, _ in rows):
            raise DataError(f"{where}: {error}", _WANTED, "check the file") from error
        given = [(row.get("function", row), f"{where}, line {n}") for row, n in rows]
        return [tool for value, line in given for tool in _several(value, line)], True
    if isinstance(value, dict) and value.get("nextCursor"):
        raise DataError(f"{where}: one page of tools", "all of them", "ask the server for the next pages too")
    if isinstance(value, dict) and "name" not in value:
        value = value.get("tools", value.get("function"))
    return _several(value, where), False


def _several(value: object, where: str) -> list[object]:
    tools = [value] if isinstance(value, dict) else value
    if not isinstance(tools, list):
        raise DataError(f"{where}: {type(value).__name__} {value!r:.60}", _WANTED, "check the file")
    return tools


def _standard(schema: Any) -> Any:
    """The schema with BFCL's types replaced by those of JSON schema."""
    if isinstance(schema, list):
        return [_standard(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _standard(value) for key, value in schema.items()}
    kind = changed.get("type")
    if kind == "any":
        del changed["type"]
    elif isinstance(kind, str):
        changed["type"] = _BFCL_TYPES.get(kind, kind)
    return changed


def _shown(tool: Procedure) -> str:
    facts = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return json.dumps(facts, ensure_ascii=False)
