"""The page's calls over HTTP."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from threading import Event, Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.cli.main import app
from tokmem.methods.base import Base
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tokmem_lora import TokMemLora
from tokmem.playground.server import make_server
from tokmem.playground.session import Session, _verdict
from tokmem.records import Answer, Choice, Example, Procedure, Route, Turn

PAIRS = [[f"What is red in {place}?", f"{place} rose"] for place in ("Rome", "Oslo", "Lima", "Kyiv", "Bonn")]


def ask(port: int, name: str, given: object = None, **headers: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    send = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request("POST", f"/{name}", json.dumps({} if given is None else given), send)
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def test_the_page_is_one_file_that_asks_no_other_host(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/")
    reply = connection.getresponse()
    page = reply.read().decode()
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "http://" not in page
    assert "https://" not in page
    connection.request("GET", "/other")
    assert connection.getresponse().status == 404


def test_a_query_is_routed_answered_and_compared(port: int, session: Session) -> None:
    status, answer = ask(port, "recall", {"query": "France"})
    assert status == 200
    whole = session.memory.recall("France", top_k=5)
    assert answer["recalled"] == [whole.procedure]
    assert sum(one["probability"] for one in answer["routes"]) == pytest.approx(1, abs=1e-4)
    forced = ask(port, "recall", {"query": "France", "procedure": "capital"})[1]
    assert forced["recalled"] == ["capital"]
    plain = ask(port, "plain", {"query": "France"})[1]
    assert isinstance(plain["response"], str)
    assert plain["prompt_tokens"] == answer["prompt_tokens"], "a memory token costs no prompt"


def test_a_query_is_compared_with_a_prompt_that_describes_the_procedure(port: int, session: Session) -> None:
    memory = session.memory
    given = {"query": "France", "procedure": "capital"}
    status, prompted = ask(port, "prompted", given)
    assert (status, prompted["told"]) == (200, "Names the capital.")
    base = Base(memory.backbone, recall=memory.recall_settings)
    (wanted,) = base.answer([Example("France", instruction="Names the capital.")])
    assert (prompted["response"], prompted["prompt_tokens"]) == (wanted.response, wanted.prompt_tokens)
    instructed = ask(port, "prompted", given | {"instruction": "Shout."})[1]
    (wanted,) = base.answer([Example("France", instruction="Names the capital.\nShout.")])
    assert (instructed["response"], instructed["prompt_tokens"]) == (wanted.response, wanted.prompt_tokens)
    status, error = ask(port, "prompted", {"query": "France", "procedure": "capitol"})
    assert (status, error["got"]) == (400, "no procedure 'capitol' (close: capital)")
    memory.add(Procedure("weather", "Tells the weather.", {"type": "object", "properties": {"city": {}}}))
    told = ask(port, "prompted", given | {"procedure": "weather"})[1]["told"]
    assert "weather(city?: any): Tells the weather." in told
    memory.add("nameless")
    assert ask(port, "prompted", given | {"procedure": "nameless"})[1]["told"] == "nameless"


def test_a_bank_that_wants_an_instruction_is_asked_with_one(session: Session) -> None:
    assert session.state({})["instructed"] is False
    session.memory.prompt = "instruction+query"
    assert session.state({})["instructed"] is True
    alone, both = ({"query": "France"} | more for more in ({}, {"instruction": "Name the capital."}))
    for call in (session.recall, session.plain):
        assert call(both)["prompt_tokens"] > call(alone)["prompt_tokens"]


def test_a_procedure_is_learned_from_five_examples_removed_and_saved(port: int, session: Session) -> None:
    before = session.memory.bank.rows("capital")[1].clone()
    status, state = ask(port, "add", {"name": "red", "description": "Names a rose.", "examples": PAIRS})
    assert status == 200, state
    assert [one["name"] for one in state["procedures"]] == ["capital", "<b>upper</b>", "red"]
    assert state["changed"] is True
    assert ask(port, "progress")[1] == {"done": 10, "steps": 10}
    assert session.memory.bank.rows("capital")[1].equal(before), "the others' rows stay as they are"
    assert ask(port, "save")[1]["changed"] is False
    assert "red" in TokMem.load(session.folder, session.memory.backbone)
    assert len(ask(port, "remove", {"name": "red"})[1]["procedures"]) == 2
    assert ask(port, "state")[1]["changed"] is True


@pytest.mark.parametrize(
    ("name", "given", "got"),
    [
        ("recall", {"query": " "}, "empty query"),
        ("recall", {}, "no `query`"),
        ("recall", {"query": "x", "instruction": 5}, "`instruction`: int 5"),
        ("prompted", {"query": "x"}, "no `procedure`"),
        ("remove", {"name": "capitol"}, "no procedure 'capitol'"),
        ("add", {"name": "red", "examples": PAIRS[:1]}, "1 examples"),
        ("add", {"name": "red", "examples": [["a", "b"], ["c"]]}, "an example ['c']"),
        ("add", {"name": "red", "examples": [["a", 5], ["c", "d"]]}, "an example ['a', 5]"),
        ("add", {"name": "capital", "examples": PAIRS}, "capital"),
        ("delete", {}, "call 'delete'"),
        ("recall", ["query"], "list"),
    ],
)
def test_a_mistake_is_told(port: int, session: Session, name: str, given: object, got: str) -> None:
    status, error = ask(port, name, given)
    assert status == 400
    assert got in error["got"]
    assert list(session.memory) == ["capital", "<b>upper</b>"]


def test_a_page_that_is_closed_before_its_answer_is_no_error(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gone, done, errors = Event(), Event(), Event(), list[object]()
    session.calls["state"] = lambda given: {"asked": asked.set(), "gone": gone.wait(60)}
    with make_server(session, 0) as server:
        monkeypatch.setattr(server, "handle_error", lambda *_: errors.append(sys.exc_info()[1]))
        monkeypatch.setattr(server, "shutdown_request", lambda _: done.set())
        Thread(target=server.handle_request).start()
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("POST", "/state", "{}", {"Content-Type": "application/json"})
        assert asked.wait(60)
        connection.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # closes at once
        connection.close()
        gone.set()
        assert done.wait(60)
    assert not errors


def test_other_sites_are_refused(port: int) -> None:
    assert ask(port, "state", Host="evil.example")[0] == 403
    assert ask(port, "state", Origin="https://evil.example")[0] == 403
    assert ask(port, "state", Content_Type="text/plain")[0] == 403
    assert ask(port, "state", Origin=f"http://127.0.0.1:{port}", Host="localhost")[0] == 200


def test_the_command_opens_the_page(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from tokmem.cli.main import app

    session.memory.save(session.folder)
    monkeypatch.setattr("tokmem.cli.ui.open_memory", lambda bank, settings, prompt: session.memory)
    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", lambda self: None)
    done = CliRunner().invoke(app, ["-q", "ui", str(session.folder), "--port", "0"])
    assert done.exit_code == 0, done.output
    assert "Open http://127.0.0.1:" in done.stdout


def test_a_port_in_use_is_refused_before_the_backbone_loads(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokmem.cli.ui.open_memory", lambda *_: pytest.fail("loaded"))
    (tmp_path / "bank.json").touch()
    done = CliRunner().invoke(app, ["ui", str(tmp_path), "--port", str(port)])
    assert done.exit_code == 2
    assert f"port {port}: Address already in use" in " ".join(done.output.split())


def test_save_keeps_what_another_program_wrote(port: int, session: Session, tmp_path: Path) -> None:
    assert ask(port, "save")[0] == 200
    other = TokMem.load(session.folder, session.memory.backbone)
    other.rename("capital", "city")
    other.save(session.folder)
    status, error = ask(port, "save")
    assert status == 400
    assert "which another program has changed" in error["got"]
    assert "city" in TokMem.load(session.folder, session.memory.backbone)
    session.folder.rename(tmp_path / "theirs")
    assert ask(port, "save")[0] == 200
    assert ask(port, "save")[0] == 200


def test_an_error_of_the_system_is_told(port: int, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "bank")

    monkeypatch.setattr(session.memory, "save", full)
    status, error = ask(port, "save")
    assert status == 400
    assert "Permission denied" in error["got"]
    assert ask(port, "state", Host="[::1")[0] == 403
    assert ask(port, "state", Origin="http://[::1")[0] == 403


def test_a_bank_beside_an_adapter_is_saved_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    made = TokMemLora(tiny_backbone(tiny_tokenizer(LLAMA)), freeze_after_first=True, prompt="query")
    made.learn([Procedure("capital")], [Example("France", (Turn("capital", "Paris"),))], [])
    made.save(tmp_path / "home")
    opened: list[Path] = []
    monkeypatch.setattr("tokmem.cli.ui.open_memory", lambda *_: made)
    monkeypatch.setattr("tokmem.playground.session.Session.__init__", lambda _, memory, at: opened.append(at))
    monkeypatch.setattr("tokmem.playground.server.make_server", lambda *_: sys.exit())
    CliRunner().invoke(app, ["ui", str(tmp_path / "home" / "bank"), "--port", "0"])
    assert opened == [tmp_path / "home"]


def test_the_verdict_says_what_rejected_a_query() -> None:
    """Of computed addresses it is the fit; of trained ones, plain text."""
    choices = (Choice("capital", 0.9),)
    fit, none = (Answer("x", route=Route(choices, True, 0.1, fit)) for fit in (-1.0, None))
    assert _verdict(fit) == "no memory token: no procedure fits (nearest: capital 90.0%)"
    assert _verdict(none) == "no memory token: plain text was more likely (nearest: capital 90.0%)"
    assert _verdict(replace(none, turns=(Turn("capital", "y"),))) == ""
