"""The page's calls over HTTP."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tokmem.cli.main import app
from tokmem.methods.tokmem import TokMem
from tokmem.playground.session import Session

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
    assert isinstance(ask(port, "plain", {"query": "France"})[1]["response"], str)


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
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokmem.cli.ui.open_memory", lambda *_: pytest.fail("loaded"))
    done = CliRunner().invoke(app, ["ui", "bank", "--port", str(port)])
    assert done.exit_code == 2
    assert f"port {port}: Address already in use" in " ".join(done.output.split())
