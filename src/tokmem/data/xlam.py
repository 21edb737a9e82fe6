"""Tool calls in the columns of xlam-function-calling-60k: ``query``, ``answers``, ``tools``.

``answers`` is a list of ``{"name", "arguments"}``, ``tools`` a list of ``{"name", "description",
"parameters"}``; both may be JSON text instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokmem.data.raw_rows import load_rows, parsed
from tokmem.data.tool_schema import json_schema
from tokmem.errors import ConfigError, DataError
from tokmem.records import Call, Procedure

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


@dataclass(frozen=True, order=True)
class ToolRange:
    """Tools by their rank, from ``first`` to ``last``, both counted from 1 and both inside.

    Raises:
        ConfigError: ``first`` is below 1 or above ``last``.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ConfigError(f"tools {self}", "a first rank from 1 up, and a last one not below it")

    def __str__(self) -> str:
        """As in the names of files: ``51-100``."""
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        """How many tools."""
        return self.last - self.first + 1

    @classmethod
    def parse(cls, text: str) -> ToolRange:
        """Reads ``51-100``; ``20`` is ``1-20``.

        Raises:
            ConfigError: it is neither.
        """
        match = re.fullmatch(r"\s*(?:(\d+)\s*-\s*)?(\d+)\s*", text)
        if match is None:
            raise ConfigError(f"tools {text!r}", "a range such as 51-100, or a number such as 20")
        return cls(int(match[1] or 1), int(match[2]))

    @classmethod
    def parse_all(cls, text: str) -> tuple[ToolRange, ...]:
        """Reads ranges with commas between them, such as ``1-50,101-250``.

        Raises:
            ConfigError: one is malformed, or two overlap.
        """
        ranges = tuple(map(cls.parse, text.split(",")))
        require_disjoint(ranges)
        return ranges

    def select(self, ranked: Sequence[Procedure]) -> tuple[Procedure, ...]:
        """The tools of this range.

        Raises:
            DataError: there are fewer.
        """
        if self.last > len(ranked):
            do = "choose a range within, or read more rows"
            raise DataError(f"tools {self}, but {len(ranked)} tools have rows", f"1-{len(ranked)}", do)
        return tuple(ranked[self.first - 1 : self.last])


def parse_rounds(text: str) -> tuple[tuple[ToolRange, int], ...]:
    """Reads rounds such as ``1-50:1,51-100:3``: ranges of tools and their epochs, in order.

    Raises:
        ConfigError: it is malformed, or two ranges overlap.
    """
    rounds = []
    for part in text.split(","):
        tools, _, epochs = part.partition(":")
        if not epochs.strip().isdecimal() or int(epochs) < 1:
            raise ConfigError(f"round {part!r}", "tools and epochs, such as 51-100:3", "add the epochs")
        rounds.append((ToolRange.parse(tools), int(epochs)))
    require_disjoint([tools for tools, _ in rounds])
    return tuple(rounds)


def consecutive_ranges(start_tool: int, tools_per_round: int, num_rounds: int) -> tuple[ToolRange, ...]:
    """Ranges one after another: ``consecutive_ranges(51, 10, 2)`` is 51-60 and 61-70.

    Raises:
        ConfigError: a number is below 1.
    """
    for name, value in (("tools_per_round", tools_per_round), ("num_rounds", num_rounds)):
        if value < 1:
            raise ConfigError(f"{name} {value}", "at least 1")
    firsts = range(start_tool, start_tool + num_rounds * tools_per_round, tools_per_round)
    return tuple(ToolRange(first, first + tools_per_round - 1) for first in firsts)


def require_disjoint(ranges: Iterable[ToolRange]) -> None:
    """Refuses ranges that share a tool.

    Raises:
        ConfigError: two of them do.
    """
    for before, after in pairwise(sorted(ranges)):
        if after.first <= before.last:
            raise ConfigError(f"tools {before} and {after} overlap", "each tool in one round", "change one")


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
    if not isinstance(name, str) or not name.strip():
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
