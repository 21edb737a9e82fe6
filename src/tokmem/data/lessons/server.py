"""Asks a running MCP server for its tools with the official client, over HTTP or the stdio of a command."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tokmem.data.lessons.lesson import Lesson
from tokmem.data.lessons.tools import tool_lesson
from tokmem.errors import ConfigError, DataError

STDIO = "stdio:"
WAIT = 30.0
_MOST_PAGES = 100


def is_server(source: str) -> bool:
    """Whether a source names a server: a URL, or `stdio:` before a command."""
    return source.startswith(("http://", "https://", STDIO))


def read_server(source: str, seconds: float = WAIT) -> tuple[Lesson, ...]:
    """Reads the tools of a server. It is only asked for its list; no tool is called.

    Args:
        source: a URL such as `http://localhost:8000/mcp`, or `stdio:` and a command, which is run.
        seconds: how long to wait for the whole list.

    Raises:
        ConfigError: the extra `mcp` is not installed, or `stdio:` has no command.
        DataError: the server cannot be reached, does not answer in time, answers with an error, or has no
            tools.
    """
    target = _target(source)
    try:
        tools = _run(asyncio.wait_for(_tools(target), seconds))
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise DataError(
            f"{source}: no list of tools within {seconds:g} seconds",
            "an MCP server that answers `tools/list`",
            "start it, or save its list as JSON and learn from that file",
        ) from error
    except Exception as error:  # transports raise errors of many kinds, in groups
        reason = "; ".join(_reasons(error))
        raise DataError(f"{source}: {reason:.300}", "a running MCP server", "check the address") from error
    if not tools:
        raise DataError(f"{source}: no tools", "a server with tools", "check the server")
    return tuple(tool_lesson(tool, f"{source}, tool {number}") for number, tool in enumerate(tools))


def _run(asking: Coroutine[Any, Any, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Runs a coroutine, in a thread of its own if the caller runs an event loop, as notebooks do."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(asking)  # an interrupt cancels it at once; a thread would have to end first
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asking).result()


def _target(source: str) -> Any:
    """What the client connects to."""
    try:
        from mcp import StdioServerParameters
    except ImportError as error:
        raise ConfigError(
            "the MCP client is not installed", "the extra `mcp`", "pip install 'tokmem[mcp]'"
        ) from error
    if not source.startswith(STDIO):
        return source
    try:
        words = shlex.split(source.removeprefix(STDIO))
    except ValueError as error:
        raise ConfigError(f"{source!r}: {error}", "stdio:COMMAND", "close the quotation") from error
    if not words:
        raise ConfigError(f"{source!r} without a command", "stdio:COMMAND", "name the command")
    return StdioServerParameters(command=words[0], args=words[1:])


async def _tools(target: Any) -> list[dict[str, Any]]:
    """All pages of `tools/list`, as JSON."""
    from mcp import Client

    found: list[dict[str, Any]] = []
    async with Client(target) as client:
        cursor = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:  # some servers end with an empty one
                return found
    raise RuntimeError(f"more than {_MOST_PAGES} pages of tools")


def _reasons(error: BaseException) -> Iterator[str]:
    """The messages of an error, or of the errors of a group."""
    for one in getattr(error, "exceptions", ()):
        yield from _reasons(one)
    if not hasattr(error, "exceptions"):
        yield f"{type(error).__name__}: {error}"
