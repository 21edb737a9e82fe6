"""Tool calls in the columns of xlam-function-calling-60k: ``query``, ``answers``, ``tools``.

``answers`` is a list of ``{"name", "arguments"}``, ``tools`` a list of ``{"name", "description",
"parameters"}``; both may be JSON text instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.data.calls.rows import load_rows, parsed
from tokmem.data.calls.schema import json_schema
from tokmem.errors import DataError
from tokmem.records import Call, Procedure, has_visible_text

EXCLUDED = ("search",)
"""Names that the published ranges leave out: in xLAM this one stands for many unrelated tools."""


@dataclass(frozen=True)
class XlamRow:
    """A query and the calls that answer it.

    Attributes:
        id: unique among the rows; its place in the source where it has none.
        query: the user's text.
        calls: at least one, in order.
        tools: what the row offers; each called tool is among them.
    """

    id: str
    query: str
    calls: tuple[Call, ...]
    tools: tuple[Procedure, ...]

    @property
    def tool(self) -> str | None:
        """The one tool that is called, once or more; None where there are several."""
        names = {call.name for call in self.calls}
        return names.pop() if len(names) == 1 else None


@dataclass(frozen=True)
class XlamRows:
    """The rows of a source.

    Attributes:
        rows: those that can be used, in the source's order.
        broken: how many others there are, by reason.
        checksum: sha256 (hex) of what was read.
    """

    rows: tuple[XlamRow, ...]
    broken: Mapping[str, int]
    checksum: str


class _BrokenRow(Exception):
    """Why a row cannot be used."""


def read_xlam(source: str | Path) -> XlamRows:
    """Reads tool calls; a row that cannot be used is counted under the reason.

    Args:
        source: a file of JSON (a list), JSON lines or parquet, or a data set's id on the hub.

    Raises:
        DataError: there is no such source, it is not in one of these formats, it has no usable row, or a
            library that it takes is missing.
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
    """The tools by how many rows call them and no other tool; ties by first appearance, as published.

    Each is described as in the first row that offers it.

    Args:
        rows: in their source's order.
        exclude: names to leave out.
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
    """``raw[key]``, JSON text or not, as a list of objects."""
    items = parsed(raw.get(key))
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
    arguments = {} if given is None or given == "" else parsed(given)  # a call without arguments
    if not isinstance(arguments, dict):
        raise _BrokenRow("arguments are no object")
    return Call(_name(item), arguments)


def _tool(item: dict[str, Any]) -> Procedure:
    parameters = parsed(item.get("parameters") or {})
    if not isinstance(parameters, dict):
        raise _BrokenRow("parameters are no object")
    try:
        return Procedure(_name(item), str(item.get("description") or "").strip(), json_schema(parameters))
    except TypeError as error:
        raise _BrokenRow("parameters are not described by objects") from error
