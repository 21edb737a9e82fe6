"""Unmodified engines on the loopback answer as our own recall does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.serving.engine_cases import LONGEST, PACKAGES, export_for, own_answers, rows
from tests.serving.memorised import CASES, memorised
from tokmem.methods.tokmem import TokMem
from tokmem.serving.engines import ENGINES, Engine

pytest.importorskip("openai")
with_each = pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))


@with_each
def test_answers_are_those_of_recall(engine, memory: TokMem, home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if not engine.installed():
        pytest.skip(f"needs {PACKAGES[engine.name]}")
    wanted = own_answers(memory)
    assert [len(said.calls) for said in wanted.values()] == [1, 2, 3, 0, 0, 1]
    found = list(rows(engine, export_for(engine, memory, home), wanted, tmp_path / "log"))
    assert len(found) == 4 * len(wanted)
    assert [row for row in found if not row["ok"]] == []


@pytest.mark.parametrize(
    "engine",
    [ENGINES["llama.cpp"], pytest.param(ENGINES["transformers"], marks=pytest.mark.slow)],
    ids=lambda engine: engine.name,
)
def test_calls_in_the_style_hermes_are_read_too(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine.installed():
        pytest.skip(f"needs {PACKAGES[engine.name]}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = memorised(tmp_path, "hermes")
    wanted = own_answers(memory)
    assert [len(said.calls) for said in wanted.values()] == [1, 2, 3, 0, 0, 1]
    query, options = CASES["single"].query, {"mode": "chain", "max_new_tokens": LONGEST}
    assert "".join(memory.stream(query, **options)) == memory.recall(query, **options).transcript
    found = list(rows(engine, export_for(engine, memory, tmp_path), wanted, tmp_path / "log"))
    assert [row for row in found if not row["ok"]] == []


@pytest.mark.parametrize("ended_by", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_served_bank_is_asked_and_a_signal_ends_it(
    ended_by: int, memory: TokMem, home: Path, cli: Cli
) -> None:
    pytest.importorskip("xllamacpp")
    gguf = home / "tiny.gguf"
    command = [
        sys.executable,
        "-m",
        "tokmem",
        "serve",
        home / "bank",
        "--engine",
        "llama.cpp",
        "--gguf",
        gguf,
    ]
    with subprocess.Popen(
        [*map(str, command), "--backbone", str(gguf), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(home / "cache")},
    ) as process:
        assert process.stdout
        shown = ""
        while "Ctrl-C" not in shown and (line := process.stdout.readline()):
            shown += line
        [url] = set(re.findall(r"http://\S+?/v1", shown))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        asked = cli("recall", "a timer, then the weather!", "--url", url, "--bank", home / "bank")
        process.send_signal(ended_by)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert re.search(r"recalled +set timer\n *arguments +\{.minutes.: 2.50\} +valid", asked.stdout)
    assert "weather.now" in asked.stdout
    assert "curl http://" in shown
    assert children
    assert not [child for child in children if Path("/proc", child).exists()]
