"""Draws single calls of generated tools, as rows to compose queries for several tools from."""

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
_DRAWS = 3000  # requests in each frame


def mini_tool_rows(samples_per_tool: int, seed: int = 0, more_tools: int = 0) -> XlamRows:
    """Draws the same number of rows for each tool; no query occurs twice.

    The tools keep the order of their table as ranks. Tools 1-50 are auxiliary: the bundled backbone was
    trained on requests for them. They never saw tools 51-100. Tools from 101 on are for adaptation: they are
    twins of the forty tools of `TRAINING` and of the auxiliary tools. A twin is asked for in the same
    words, but its arguments have other names; a backbone can only know them from the memory token. A tool
    with few requests, such as one without arguments, is also asked for in polite frames.

    Args:
        samples_per_tool: rows of a tool.
        seed: seeds every draw. More rows begin with the same ones, and so do more tools.
        more_tools: how many tools to add to the hundred.

    Raises:
        ConfigError: ``samples_per_tool`` is below 1, or a tool has fewer different requests.
    """
    check_generated(samples_per_tool)
    rows = [row for tool in TOOLS for row in _rows(tool, samples_per_tool, seed)]
    for own in itertools.islice(_more_rows(samples_per_tool, seed), more_tools):
        rows += own
    return XlamRows(tuple(rows), {}, hashlib.sha256(repr(tuple(rows)).encode()).hexdigest())


def _more_rows(count: int, seed: int) -> Iterator[list[XlamRow]]:
    """Yields the rows of one further tool after the other, endlessly; skips tools with too few requests."""
    rng = stream(seed, "more tools")
    for number in itertools.count(2):
        for tool in (*TRAINING, *AUXILIARY):
            twin = replace(rename_arguments(tool, rng), name=f"{tool.name}_{number}")
            if twin.samplers:
                with suppress(ConfigError):
                    yield _rows(twin, count, seed)


def check_generated(samples_per_tool: int) -> None:
    """Refuses an impossible number of rows, such as 0, which would ask for all of an endless supply.

    Raises:
        ConfigError: the number is below 1.
    """
    if samples_per_tool < 1:
        raise ConfigError(
            f"samples_per_tool {samples_per_tool} of generated tools",
            "at least 1: generated rows never end, so all of them cannot be taken",
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
    """Yields requests as they are drawn, and after these requests in polite frames."""
    for frame in _FRAMES:
        for _ in range(_DRAWS):
            drawn = sample_call(tool, rng)
            yield frame.format(drawn.query), Call(drawn.name, drawn.arguments)
