"""Routing measured on states alone: computed addresses beside trained ones, and what is rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokmem.report.blocks import Block, Section, TableBlock
from tokmem.report.tables import Table


def on_states(results: Sequence[Mapping[str, Any]]) -> Section:
    """Shows the rows of each measurement, all that are single numbers or names."""
    blocks: list[Block] = []
    for result in results:
        for key, caption in (("rows", result["name"]), ("orders", f"{result['name']}: random orders")):
            rows = [
                {name: value for name, value in row.items() if isinstance(value, str | int | float)}
                for row in result.get(key) or ()
            ]
            if rows:
                table = Table(rows, {name: name.replace("_", " ") for row in rows for name in row})
                blocks.append(TableBlock(caption, table, folded=len(rows) > 20))
    return Section("on-states", "Routing by states", blocks)
