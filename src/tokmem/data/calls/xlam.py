"""Reads tool calls in the columns of xlam-function-calling-60k: ``query``, ``answers``, ``tools``.

``answers`` is a list of ``{"name", "arguments"}``, ``tools`` a list of ``{"name", "description",
"parameters"}``; both may be JSON text instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.data.calls.rows import load_rows, parsed_or_none
from tokmem.data.calls.schema import json_schema
from tokmem.errors import DataError
from tokmem.records import Call, Procedure, has_visible_text

EXCLUDED = ("search",)
"""Names that the published ranges leave out: in xLAM this name stands for many unrelated tools."""


@dataclass(frozen=True)
class XlamRow:
    """A query and the calls that answer it.

    Attributes:
        id: unique among the rows; the row's place in the source if it has no id.
        query: the user's text.
        calls: at least one call, in order.
        tools: the tools that the row offers; each called tool is among them.
    """

    id: str
    query: str
    calls: tuple[Call, ...]
    tools: tuple[Procedure, ...]

    @property
    def tool(self) -> str | None:
        """The one tool that the row calls, once or more; None if it calls several."""
        names = {call.name for call in self.calls}
        return names.pop() if len(names) == 1 else None


@dataclass(frozen=True)
class XlamRows:
    """The rows of a source.

    Attributes:
        rows: the usable rows, in the source's order.
        broken: the number of unusable rows, by reason.
        checksum: sha256 (hex) of what was read.
    """

    rows: tuple[XlamRow, ...]
    broken: Mapping[str, int]
    checksum: str


class _BrokenRow(Exception):
    """A row cannot be used; the message is the reason."""


def read_xlam(source: str | Path) -> XlamRows:
    """Reads tool calls and counts the rows that cannot be used, by reason.

    Args:
        source: a file of JSON (a list), JSON lines or parquet, or a data set's id on the hub.

    Returns:
        The usable rows and the counts.

    Raises:
        DataError: there is no such source, its format is another one, it has no usable row, or a library that
            reads it is missing.
    """
    raw_rows, checksum = load_rows(source)
    rows: dict[str, XlamRow] = {}
    broken: Counter[str] = Counter()
    for number, raw in enumerate(raw_rows):
        try:
            row = _row(raw, number)
            if row.id in rows:
                raise _BrokenRow("id of an earlier row")
            rows[row.id] = row
        except _BrokenRow as reason:
            broken[str(reason)] += 1
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in broken.items()) or "it is empty"
        raise DataError(f"{source}: no usable row ({reasons})", "columns query, answers, tools")
    return XlamRows(tuple(rows.values()), dict(broken.most_common()), checksum)


def rank_tools(rows: Iterable[XlamRow], exclude: Collection[str] = EXCLUDED) -> tuple[Procedure, ...]:
    """Ranks tools by the number of rows that call them and no other tool; ties keep the order of appearance.

    The first row that offers a tool gives its description.

    Args:
        rows: rows in their source's order.
        exclude: names to leave out.

    Returns:
        The tools, the most frequent first.
    """
    counts: Counter[str] = Counter()
    described: dict[str, Procedure] = {}
    for row in rows:
        for tool in row.tools:
            described.setdefault(tool.name, tool)
        if (name := row.tool) is not None:
            counts[name] += 1
    return tuple(described[name] for name, _ in counts.most_common() if name not in exclude)


def _row(raw: object, number: int) -> XlamRow:
    if not isinstance(raw, dict):
        raise _BrokenRow("no JSON object")
    query = raw.get("query")
    if not isinstance(query, str) or not query.strip():
        raise _BrokenRow("no query")
    calls = tuple(_call(item) for item in _objects(raw, "answers"))
    if not calls:
        raise _BrokenRow("no call")
    tools = tuple(_tool(item) for item in _objects(raw, "tools"))
    if not {call.name for call in calls} <= {tool.name for tool in tools}:
        raise _BrokenRow("a called tool is not among its tools")
    own = raw.get("id")
    return XlamRow(f"row {number}" if own is None else str(own), query.strip(), calls, tools)


def _objects(raw: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Returns ``raw[key]``, which may be JSON text, as a list of objects."""
    items = parsed_or_none(raw.get(key))
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _BrokenRow(f"`{key}` is no list of objects")
    return items


def _name(item: dict[str, Any]) -> str:
    name = item.get("name")
    if not isinstance(name, str) or not has_visible_text(name):
        raise _BrokenRow("a call or tool without a name")
    return name.strip()


def _call(item: dict[str, Any]) -> Call:
    given = item.get("arguments")
    arguments = {} if given is None or given == "" else parsed_or_none(given)  # the call has no arguments
    if not isinstance(arguments, dict):
        raise _BrokenRow("arguments are no object")
    return Call(_name(item), arguments)


def _tool(item: dict[str, Any]) -> Procedure:
    parameters = parsed_or_none(item.get("parameters") or {})
    if not isinstance(parameters, dict):
        raise _BrokenRow("parameters are no object")
    try:
        return Procedure(_name(item), str(item.get("description") or "").strip(), json_schema(parameters))
    except TypeError as error:
        raise _BrokenRow("parameters are not described by objects") from error
