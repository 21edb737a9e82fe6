"""Servers that end, do not answer, or have no port: clear errors, and no process left behind."""

from __future__ import annotations

import ast
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tokmem.cli.serve import _show
from tokmem.errors import ServingError
from tokmem.serving.engines import ENGINES, HOST, Engine, choose_engine
from tokmem.serving.guard import stop
from tokmem.serving.server import choose_port, serving

ROOT = Path(__file__).parents[2]
HEALTHY = (
    "import os, sys; open('pid', 'w').write(str(os.getpid()))\n"
    "from http.server import BaseHTTPRequestHandler as H, HTTPServer\n"
    "class Health(H):\n"
    "    def do_GET(self): self.send_response(200); self.end_headers()\n"
    "HTTPServer(('127.0.0.1', int(sys.argv[1])), Health).serve_forever()"
)


def engine(script: str) -> Engine:
    return Engine(
        "fake", "hf", "nothing", lambda: True, lambda _, port, __: [sys.executable, "-c", script, str(port)]
    )


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def pid(folder: Path) -> int:
    """Of the engine, which writes it into the folder that it runs in."""
    return int((folder / "pid").read_text())


def test_a_server_is_gone_after_the_block(tmp_path: Path) -> None:
    with serving(engine(HEALTHY), tmp_path / "served", tmp_path / "log") as running:
        assert running.url.startswith(f"http://{HOST}:")
        assert running.model == "served"
        assert not gone(pid(tmp_path))
    assert gone(running.process.pid)
    assert gone(pid(tmp_path))


def test_a_server_is_gone_after_its_parent_was_killed(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from tests.serving.test_server import HEALTHY, engine
from tokmem.serving.server import serving

with serving(engine(HEALTHY), Path({str(tmp_path)!r}, "served"), Path({str(tmp_path)!r}, "log")):
    os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    until = time.monotonic() + 60
    while not gone(pid(tmp_path)) and time.monotonic() < until:
        time.sleep(0.05)
    assert gone(pid(tmp_path))


def test_a_process_that_ignores_signals_is_killed() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    stop(process, 0.2)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_server_is_told(tmp_path: Path, number: signal.Signals) -> None:
    with serving(engine(HEALTHY), tmp_path / "served", tmp_path / "log") as running:
        threading.Timer(0.1, os.kill, (pid(tmp_path), number)).start()
        with pytest.raises(ServingError, match=f"fake ended by signal {number}"):
            running.wait()


def test_a_server_that_fails_at_once_shows_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(ServingError, match=r"status 3; it said:\s+no such model"),
        serving(engine("print('no such model'); exit(3)"), tmp_path / "served", tmp_path / "log"),
    ):
        pass


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    slow = engine("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    with (
        pytest.raises(ServingError, match="does not answer after 2 seconds"),
        serving(slow, tmp_path / "served", tmp_path / "log", wait=2),
    ):
        pass
    assert gone(pid(tmp_path))


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(ServingError, match=r"port \d+: Address already in use"):
            choose_port(taken.getsockname()[1])
    assert choose_port(0) > 0


def test_a_missing_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {name: Engine(name, e.form, e.needs, lambda: False, e.command) for name, e in ENGINES.items()}
    monkeypatch.setattr("tokmem.serving.engines.ENGINES", none)
    with pytest.raises(ServingError, match="no engine is installed"):
        choose_engine(None, ("gguf", "hf"))
    with pytest.raises(ServingError, match="transformers, which is not installed"):
        choose_engine("transformers", ("hf",))
    with pytest.raises(ServingError, match=r"engine 'ollama'.*llama.cpp, transformers"):
        choose_engine("ollama", ("hf",))
    there = {name: Engine(name, e.form, e.needs, lambda: True, e.command) for name, e in ENGINES.items()}
    monkeypatch.setattr("tokmem.serving.engines.ENGINES", there)
    assert choose_engine(None, ("hf",)).name == "transformers"
    with pytest.raises(
        ServingError, match=r"llama\.cpp, which reads gguf.*to do: give a bank with --gguf FILE"
    ):
        choose_engine("llama.cpp", ("hf",))


def test_the_shown_commands_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = """it's "mine\""""
    with serving(engine(HEALTHY), tmp_path / name, tmp_path / "log") as running:
        _show(running, tmp_path, tmp_path / name)
    lines = capsys.readouterr().out.splitlines()
    [curl] = (line for line in lines if line.startswith("curl"))
    wanted = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
    assert json.loads(shlex.split(curl)[-1]) == wanted
    [client] = (line for line in lines if line.startswith("OpenAI"))
    arguments = ast.parse(client, mode="eval").body.keywords  # type: ignore[attr-defined]
    assert {one.arg: ast.literal_eval(one.value) for one in arguments} == wanted
