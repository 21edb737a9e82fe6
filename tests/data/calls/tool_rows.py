"""Rows that call one tool each, made up for tests."""

from __future__ import annotations

from tokmem.data.calls.xlam import XlamRow
from tokmem.records import Call, Procedure


def tool(name: str) -> Procedure:
    return Procedure(name, f"Does {name}.", {"type": "object", "properties": {"n": {"type": "integer"}}})


def row(name: str, number: int, calls: int = 1) -> XlamRow:
    """`do alpha 3`, which calls alpha with 3; `do alpha 3, 4`, which calls it twice."""
    numbers = [number + 1000 * i for i in range(calls)]
    query = f"do {name} {', '.join(map(str, numbers))}"
    return XlamRow(
        f"{name}-{number}x{calls}", query, tuple(Call(name, {"n": n}) for n in numbers), (tool(name),)
    )


def rows(names: str, count: int, calls: int = 1) -> list[XlamRow]:
    """So many rows of each of the tools."""
    return [row(name, number, calls) for name in names.split() for number in range(count)]


def tools(names: str) -> tuple[Procedure, ...]:
    return tuple(map(tool, names.split()))
