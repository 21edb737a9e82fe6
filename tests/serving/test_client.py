"""`tokmem recall --url` shows a server's calls as it shows our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.export.tiny_memory import tiny_memory
from tokmem.errors import ServingError
from tokmem.serving.client import Client, answer_of

CALL = {"name": "maps.find", "arguments": '{"place": "Lima"}'}


class Fake:
    """A server that gives the same reply to everybody, and keeps what it was asked."""

    def __init__(self) -> None:
        self.reply: Any = {}
        self.status = 200
        self.dies = False
        self.asked: list[Any] = []
        self.url = ""

    def say(self, finish: str = "stop", **message: Any) -> None:
        self.reply = {
            "choices": [{"message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 7},
        }


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if made.dies:
                return
            self.send_response(made.status)
            self.end_headers()
            self.wfile.write(json.dumps(made.reply).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    tiny_memory().save(tmp_path / "tools")
    return tmp_path / "tools"


def test_calls_are_checked_with_the_bank(fake: Fake, tools: Path, cli: Cli) -> None:
    fake.say(content=None, tool_calls=[{"function": CALL}, {"function": {**CALL, "arguments": "{"}}])
    done = cli(
        "recall", "where?", "--url", fake.url, "--bank", tools, "--instruction", "Say", "--max-new-tokens", 9
    )
    assert done.exit_code == 0, done.output
    assert '{"place": "Lima"}   valid' in done.stdout
    assert "not valid" in done.stdout
    [asked] = fake.asked
    assert asked["messages"] == [{"role": "user", "content": "Say\n\nwhere?"}]
    assert (asked["max_tokens"], asked["temperature"]) == (9, 0)
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["weather", "maps.find"]


def test_a_first_argument_that_is_a_bank_is_not_asked(fake: Fake, tools: Path, cli: Cli) -> None:
    fake.say(content="Hello.")
    Path("queries.txt").write_text("where?\n", "utf-8")
    for options, piped in (((), "where?\n"), (("--queries", "queries.txt"), None)):
        done = cli("recall", tools, "--url", fake.url, *options, input=piped)
        assert done.exit_code == 0, done.output
    for asked in fake.asked:
        assert asked["messages"] == [{"role": "user", "content": "where?"}]
        assert len(asked["tools"]) == 2


def test_without_a_bank_calls_are_read_from_the_text(fake: Fake, cli: Cli) -> None:
    fake.say(content='[TOOL_CALLS]a%20b[ARGS]{"c": 1}[TOOL_CALLS]d[ARGS]{}', finish="length")
    done = cli("recall", "where?", "--url", fake.url.removesuffix("/v1"), "--json")
    record = json.loads(done.stdout)
    assert record["turns"] == [
        {"procedure": "a b", "response": '{"c": 1}'},
        {"procedure": "d", "response": "{}"},
    ]
    assert (record["finished"], record["prompt_tokens"]) == (False, 7)
    assert "tools" not in fake.asked[0]
    fake.say(content="Hello.")
    assert "Hello." in cli("recall", "hi", "--url", fake.url).stdout
    assert "Hello." in cli("recall", "hi " * 3000, "--url", fake.url).stdout


def test_mistakes_are_told(fake: Fake, tools: Path, cli: Cli) -> None:
    fake.status, fake.reply = 500, {"error": "no such tool"}
    for arguments, said in (
        (("--url", fake.url), "status 500"),
        (("--url", "http://127.0.0.1:9"), "refused"),
        (("--url", "localhost:80"), "address 'localhost:80'"),
        (("--url", fake.url, "--chain"), "--chain beside --url"),
        (("--url", fake.url, "--top-k", 2), "--top-k beside --url"),
        (("--url", fake.url, "--max-new-tokens", "many"), "max_new_tokens: 'many'"),
        (("--url", fake.url, "--max-new-tokens", 0), "max_new_tokens 0"),
        ((), "neither a bank nor --url"),
    ):
        done = cli("recall", "hi", *arguments)
        assert done.exit_code == 2
        assert said in done.stderr


def test_a_server_that_dies_before_it_answers_is_told(fake: Fake, cli: Cli) -> None:
    fake.dies = True
    done = cli("recall", "hi", "--url", fake.url)
    assert done.exit_code == 2
    assert "wanted: a server of chat completions" in done.stderr


@pytest.mark.parametrize("reply", [[], {"choices": []}, {"choices": [{"message": {"tool_calls": [{}]}}]}])
def test_a_reply_that_is_no_completion_is_told(reply: Any) -> None:
    with pytest.raises(ServingError, match="a chat completion"):
        answer_of("hi", reply)


@pytest.mark.parametrize("count", ["many", float("inf"), [7]])
def test_a_count_that_is_no_number_is_told(count: Any) -> None:
    reply = {"choices": [{"message": {"content": "Hello."}}], "usage": {"prompt_tokens": count}}
    with pytest.raises(ServingError, match="a chat completion"):
        answer_of("hi", reply)


def test_an_address_that_cannot_be_read_is_told() -> None:
    with pytest.raises(ServingError, match=r"address 'http://\['; wanted: one such as"):
        Client("http://[").ask("hi")


def test_no_proxy_stands_before_the_loopback(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    fake.say(content="Hello.")
    assert Client(fake.url).ask("hi").text == "Hello."
