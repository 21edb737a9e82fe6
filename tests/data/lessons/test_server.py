"""The tools of a running MCP server are lessons; one that hangs, fails or is not there is refused by name."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tokmem.data.lessons.server import read_server
from tokmem.data.lessons.sources import read_lessons
from tokmem.errors import ConfigError, DataError

needs_client = pytest.mark.skipif(find_spec("mcp") is None, reason="the extra `mcp` is not installed")
SERVER = '''
import sys
from mcp.server.mcpserver import MCPServer

server = MCPServer("demo")

@server.tool()
def weather(city: str, days: int = 1) -> str:
    """Tells the weather."""
    raise SystemExit("a tool was called")

if "empty" in sys.argv:
    server = MCPServer("empty")
server.run("stdio")
'''


def command(folder: Path, script: str, *words: str) -> str:
    path = folder / "a server.py"
    path.write_text(script, "utf-8")
    return "stdio:" + shlex.join([sys.executable, str(path), *words])


@needs_client
def test_the_tools_of_a_server_over_stdio_are_lessons(tmp_path: Path) -> None:
    source = command(tmp_path, SERVER)
    (lesson,) = read_lessons([source])
    assert (lesson.name, lesson.procedure.description) == ("weather", "Tells the weather.")
    assert lesson.procedure.parameters is not None
    assert lesson.procedure.parameters["required"] == ["city"]
    assert lesson.source == f"{source}, tool 0"


@needs_client
def test_a_server_is_asked_from_inside_an_event_loop_too(tmp_path: Path) -> None:
    async def notebook() -> str:
        return read_server(command(tmp_path, SERVER))[0].name

    assert asyncio.run(notebook()) == "weather"


@needs_client
@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("import time; time.sleep(60)", (), "no list of tools within 2 seconds"),
        ("raise SystemExit(3)", (), "Connection closed"),
        (SERVER, ("empty",), "no tools"),
    ],
)
def test_a_server_without_a_list_is_refused(
    tmp_path: Path, script: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_server(command(tmp_path, script, *words), 2 if "sleep" in script else 60)


@needs_client
@pytest.mark.parametrize("source", ["stdio:no-such-command", "http://127.0.0.1:9/mcp"])
def test_a_server_that_is_not_there_is_refused(source: str) -> None:
    with pytest.raises(DataError, match=f"{source}: .*Error"):
        read_server(source)


@needs_client
def test_stdio_needs_a_command() -> None:
    with pytest.raises(ConfigError, match="without a command"):
        read_server("stdio:")


@needs_client
def test_a_command_with_an_open_quotation_is_refused() -> None:
    with pytest.raises(ConfigError, match="No closing quotation"):
        read_server("stdio:serve 'all")


@needs_client
def test_an_interrupt_does_not_wait_for_the_server(tmp_path: Path) -> None:
    source = command(tmp_path, "import time; time.sleep(60)")
    timer = threading.Timer(3, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_server(source, 25)
    timer.join()
    assert time.monotonic() - began < 15


class Page(SimpleNamespace):
    """One page of `tools/list`."""

    @classmethod
    def of(cls, number: int, last: int, end: str | None = None) -> Page:
        raw = {"name": f"tool_{number}", "inputSchema": {"type": "object", "properties": {}}}
        tool = SimpleNamespace(model_dump=lambda **_: raw)
        return cls(tools=[tool], next_cursor=end if number == last else str(number + 1))


def client_of(last: int, end: str | None) -> type:
    """A client of a server whose list has so many pages; the last one's cursor is `end`."""

    class Client:
        def __init__(self, target: object) -> None:
            pass

        async def __aenter__(self) -> Client:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def list_tools(self, *, cursor: str | None) -> Page:
            return Page.of(int(cursor or 0), last, end)

    return Client


def stand_in(monkeypatch: pytest.MonkeyPatch, last: int, end: str | None = None) -> None:
    module = SimpleNamespace(Client=client_of(last, end), StdioServerParameters=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "mcp", module)


@pytest.mark.parametrize("end", [None, ""])
def test_all_pages_are_read(monkeypatch: pytest.MonkeyPatch, end: str | None) -> None:
    stand_in(monkeypatch, 2, end)
    assert [lesson.name for lesson in read_server("stdio:serve --all")] == ["tool_0", "tool_1", "tool_2"]


def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 1_000_000)
    with pytest.raises(DataError, match="more than 100 pages"):
        read_server("http://localhost/mcp")


def test_a_missing_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r"tokmem\[mcp\]"):
        read_server("http://localhost/mcp")
