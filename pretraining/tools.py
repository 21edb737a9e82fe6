"""Chains of requests for generated tools, and the line that shows a tool to a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokmem.data.calls.schema import signature
from tokmem.mini.tools import Call, Tool, sample_call
from tokmem.records import Procedure

_CONNECTORS = (
    " and ", ", then ", ", and then ", "; also ", ", and also ", "; then ", "; after that, ",
    ". After that, ", ". Then ", ". Also, ", ". Next, ", ". Please also ",
)  # fmt: skip


def sample_chain(tools: Sequence[Tool], rng: Random, n: int) -> tuple[str, list[Call]]:
    """Draws one query for n calls (of different tools if there are n), and the calls in its order."""
    chosen = rng.sample(tools, n) if n <= len(tools) else rng.choices(tools, k=n)
    calls = [sample_call(tool, rng) for tool in chosen]
    query = calls[0].query
    for call in calls[1:]:
        query += rng.choice(_CONNECTORS) + call.query
    return query[0].upper() + query[1:] + ".", calls


def schema_line(tool: Tool) -> str:
    """Writes a tool on one line: `name(argument: type, optional?: type): Description`."""
    return signature(Procedure(tool.name, tool.description, tool.parameters))
