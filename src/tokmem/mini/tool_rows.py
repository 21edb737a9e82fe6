"""Single calls of generated tools, as rows that queries for several tools are put together from."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from random import Random

from tokmem.data.calls.xlam import XlamRow, XlamRows
from tokmem.errors import ConfigError
from tokmem.mini.tools import AUXILIARY, TOOLS, TRAINING, Tool, sample_call
from tokmem.mini.twins import rename_arguments
from tokmem.records import Call, Procedure
from tokmem.seeds import stream

_FRAMES = (
    "{}", "please {}", "{}, please", "could you {}", "can you {}", "would you {}", "I want you to {}",
    "I need you to {}", "I would like you to {}", "go ahead and {}", "it is time to {}", "you should {}",
    "kindly {}", "be so kind as to {}", "quickly {}", "would you be able to {}",
)  # fmt: skip
_DRAWS = 3000  # of requests in each frame


def mini_tool_rows(samples_per_tool: int, seed: int = 0, more_tools: int = 0) -> XlamRows:
    """Draws as many rows for each tool, every query once.

    The tools stand in the order of their table, and rank in it: 1-50 are the auxiliary ones, whose requests
    the bundled backbones were trained on, 51-100 those that they never saw. Tools from 101 on are for
    adaptation: twins of forty tools written for it and of the auxiliary ones. Twins are asked for in the
    same words and call their arguments differently, which a backbone can then have from the memory token
    alone. A tool that has few requests, such as one without arguments, is also asked for politely.

    Args:
        samples_per_tool: rows of a tool.
        seed: of every draw; more rows begin with the same ones, and so do more tools.
        more_tools: how many tools after the hundred.

    Raises:
        ConfigError: ``samples_per_tool`` is below 1, or a tool has fewer different requests.
    """
    check_generated(samples_per_tool)
    rows = [row for tool in TOOLS for row in _rows(tool, samples_per_tool, seed)]
    for own in itertools.islice(_more_rows(samples_per_tool, seed), more_tools):
        rows += own
    return XlamRows(tuple(rows), {}, hashlib.sha256(repr(tuple(rows)).encode()).hexdigest())


def _more_rows(count: int, seed: int) -> Iterator[list[XlamRow]]:
    """The rows of one further tool after the other, without end; one with too few requests is left out."""
    rng = stream(seed, "more tools")
    for number in itertools.count(2):
        for tool in (*TRAINING, *AUXILIARY):
            twin = replace(rename_arguments(tool, rng), name=f"{tool.name}_{number}")
            if twin.samplers:
                with suppress(ConfigError):
                    yield _rows(twin, count, seed)


def check_generated(samples_per_tool: int) -> None:
    """Refuses a number of rows that cannot be drawn, such as 0, which asks for all there are.

    Raises:
        ConfigError: it is below 1.
    """
    if samples_per_tool < 1:
        raise ConfigError(
            f"samples_per_tool {samples_per_tool} of generated tools",
            "at least 1: there is no end of generated rows, so not all can be taken",
        )


def _rows(tool: Tool, count: int, seed: int) -> list[XlamRow]:
    offered = (Procedure(tool.name, tool.description, tool.parameters),)
    rows: dict[str, XlamRow] = {}
    for query, call in _requests(tool, stream(seed, "tool rows", tool.name)):
        if query not in rows:
            rows[query] = XlamRow(f"{tool.name}-{len(rows)}", query, (call,), offered)
            if len(rows) == count:
                return list(rows.values())
    raise ConfigError(f"samples_per_tool {count}", f"at most the {len(rows)} requests of {tool.name}")


def _requests(tool: Tool, rng: Random) -> Iterator[tuple[str, Call]]:
    """Requests as plain as they are drawn, and only then those in polite frames."""
    for frame in _FRAMES:
        for _ in range(_DRAWS):
            drawn = sample_call(tool, rng)
            yield frame.format(drawn.query), Call(drawn.name, drawn.arguments)
