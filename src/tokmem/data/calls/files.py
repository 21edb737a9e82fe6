"""Reads and writes composed queries in the format of the published code.

A row of queries is ``{"user_input": ..., "tools": [names], "function_calls": [arguments as JSON text]}``,
one tool and one entry of arguments a call. Descriptions are an object that maps a tool's name to ``{"name",
"description", "parameters"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokmem.data.calls.compose import Composed, ComposeSpec
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.schema import SCHEMA_KEYS, json_schema
from tokmem.data.calls.schema_check import check_schema
from tokmem.data.calls.text import arguments_json
from tokmem.data.corpus import SPLITS, Split
from tokmem.data.fields import expect, read_bytes, take, take_name, take_texts
from tokmem.errors import DataError
from tokmem.files import atomic_write_json
from tokmem.records import Example, Procedure, Turn
from tokmem.strict_json import parse_json

_FOLDERS: dict[Split, str] = {"train": "training", "validation": "validation", "test": "test"}


def calls_path(folder: Path, split: Split, tool_range: ToolRange | None, max_calls: int) -> Path:
    """Returns the file of a split, such as ``training/function_calling_train_tools51-100_4calls.json``.

    Args:
        folder: the data's folder.
        split: which queries.
        tool_range: which tools; None names the single pair of files, ``function_calling_train.json`` in the
            folder itself.
        max_calls: the most calls in a query; the single pair ignores it.
    """
    if tool_range is None:
        return Path(folder) / f"function_calling_{split}.json"
    name = f"function_calling_{split}_tools{tool_range}_{max_calls}calls.json"
    return Path(folder) / _FOLDERS[split] / name


def descriptions_path(folder: Path, tool_range: ToolRange | None) -> Path:
    """Returns the file of the tools' descriptions, such as ``tool_descriptions_tools51-100.json``."""
    return Path(folder) / ("tool_descriptions" + (f"_tools{tool_range}" if tool_range else "") + ".json")


def named_files(folder: Path) -> tuple[Path, ...]:
    """Lists the folder's files that are named by a range of tools, sorted."""
    queries = (
        path
        for split, below in _FOLDERS.items()
        for path in (Path(folder) / below).glob(f"function_calling_{split}_tools*_*calls.json")
    )
    return tuple(sorted((*queries, *Path(folder).glob("tool_descriptions_tools*.json"))))


def write_calls(
    folder: Path, tool_range: ToolRange | None, spec: ComposeSpec, composed: Composed
) -> tuple[Path, ...]:
    """Writes the tools' descriptions and each split that has queries; each file appears whole or not at all.

    Args:
        folder: the data's folder; it is made if it is missing.
        tool_range: which tools these are; None for the single pair.
        spec: the spec that the queries were made with.
        composed: the tools and their queries.

    Returns:
        The files.
    """
    described = {tool.name: _described(tool) for tool in composed.procedures}
    files: dict[Path, object] = {descriptions_path(folder, tool_range): described}
    for split in SPLITS:
        if examples := composed.examples(split):
            path = calls_path(folder, split, tool_range, spec.max_calls(split))
            files[path] = [_row(example) for example in examples]
    for path, content in files.items():
        atomic_write_json(path, content)
    return tuple(files)


def read_calls(path: Path) -> tuple[Example, ...]:
    """Reads the queries of a file, in order; a query without an ``id`` is named for the file and its place.

    A call is its arguments, as JSON text or as an object. It may also be ``{"name", "arguments"}`` if the
    name is the one under ``tools``.

    Args:
        path: the file.

    Returns:
        The queries.

    Raises:
        DataError: the file cannot be read, or a row is not valid (its place is given).
    """
    path = Path(path)
    rows = expect(_json(path), list, str(path))
    if not rows:
        raise DataError(f"{path}: no rows", "at least one", "check the path")
    return tuple(
        _example(row, f"{path}, row {number}", f"{path.stem}-{number}") for number, row in enumerate(rows)
    )


def read_descriptions(path: Path) -> tuple[Procedure, ...]:
    """Reads the tools of a file, in order; parameters are a JSON schema or xlam's descriptions.

    Args:
        path: the file.

    Returns:
        The tools.

    Raises:
        DataError: the file cannot be read, a tool is not valid, or a name stands twice.
    """
    raw = _json(Path(path))
    items = list(raw.values()) if isinstance(raw, dict) else expect(raw, list, str(path))
    tools = [_tool(item, f"{path}, tool {number}") for number, item in enumerate(items)]
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: tool {name!r} stands twice", "each tool once", "remove one")
    return tuple(tools)


def _described(tool: Procedure) -> dict[str, object]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters or {})}


def _row(example: Example) -> dict[str, object]:
    return {
        "id": example.id,
        "user_input": example.query,
        "tools": [turn.procedure for turn in example.turns],
        "function_calls": [turn.response for turn in example.turns],
    }


def _json(path: Path) -> object:
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise DataError(f"{path}: {error}", "JSON in UTF-8", "mend the file") from error


def _example(raw: object, where: str, default_id: str) -> Example:
    row = expect(raw, dict, where)
    query = take(row, "user_input", str, where)
    names = take_texts(row, "tools", where)
    calls = take(row, "function_calls", list, where)
    if not query.strip() or not names or len(names) != len(calls):
        got = f"{where}: {len(query.strip())} characters, {len(names)} `tools`, {len(calls)} `function_calls`"
        raise DataError(got, "a query, and as many tools as calls", "mend the row")
    turns = tuple(
        Turn(name, arguments_json(_arguments(call, name, f"{where}: `function_calls`[{index}]")))
        for index, (name, call) in enumerate(zip(names, calls, strict=True))
    )
    return Example(query, turns, id=default_id if row.get("id") is None else str(row["id"]))


def _arguments(call: object, name: str, where: str) -> Mapping[str, Any]:
    """Returns a call's arguments; unwraps ``{"name", "arguments"}`` only if the name is the tool's."""
    value: dict[str, Any] = expect(_parsed(call, where), dict, where)
    for key in ("arguments", "parameters"):
        if value.keys() == {"name", key} and value["name"] == name:
            inner = _parsed(value[key], where)
            return inner if isinstance(inner, dict) else value
    return value


def _parsed(value: object, where: str) -> object:
    """Parses a value that is written as JSON text; returns any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError as error:
        raise DataError(f"{where}: {error}", "arguments as JSON", "mend the row") from error


def _tool(raw: object, where: str) -> Procedure:
    tool = expect(raw, dict, where)
    key = next((key for key in SCHEMA_KEYS if tool.get(key) is not None), "parameters")
    parameters = take(tool, key, dict, where, default={})
    try:
        schema = json_schema(parameters)
    except TypeError as error:
        raise DataError(f"{where}: {error}", "an object for each parameter", "mend the file") from error
    procedure = Procedure(
        take_name(tool, "name", where), take(tool, "description", str, where, default=""), schema
    )
    check_schema(procedure, where)
    return procedure
