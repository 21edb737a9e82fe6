from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import serving
from bench.served_weights import row
from bench.serving import as_text, as_tokens, engine_of, measure
from bench.serving_bank import Data, read_data
from tokmem.data.calls.compose import ComposeSpec
from tokmem.data.calls.parse import call_of
from tokmem.eval.tool_answers import expected_calls
from tokmem.records import Turn
from tokmem.serving.engines import ENGINES
from tokmem.serving.server import Server

SCHEMA = {"place": {"type": "str", "description": "Where."}}


@pytest.fixture
def data(tmp_path: Path) -> Data:
    rows = [
        {
            "id": 100 * number + index,
            "query": f"{name} of city {index}",
            "answers": json.dumps([{"name": name, "arguments": {"place": f"city {index}"}}]),
            "tools": json.dumps([{"name": name, "description": f"Gives the {name}.", "parameters": SCHEMA}]),
        }
        for number, name in enumerate(("weather", "news", "traffic"))
        for index in range(30)
    ]
    path = tmp_path / "calls.json"
    path.write_text(json.dumps(rows))
    spec = ComposeSpec(train_size=20, test_size=4, train_max_calls=1, test_max_calls=1)
    return read_data(path, 2, spec)


def reply(**message: Any) -> Any:
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}


def test_queries_have_one_call_and_serve_once(data: Data) -> None:
    assert [tool.name for tool in data.tools] == ["weather", "news"]
    assert [len(example.turns) for example in data.test] == [1] * 4
    assert not {e.query for e in data.test} & {e.query for e in data.train}


def test_both_ways_ask_for_the_same_calls(data: Data) -> None:
    example = replace(data.test[0], turns=(*data.test[0].turns, *data.test[-1].turns))
    tokens, text = as_tokens(data), as_text(data)
    assert [tool["function"]["name"] for tool in tokens.request(example)["tools"]] == ["weather", "news"]
    assert tokens.request(example)["messages"] == [{"role": "user", "content": example.query}]
    messages = text.request(example)["messages"]
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert "news(place: string): Gives the news." in messages[0]["content"]
    assert "tools" not in text.request(example)
    calls = [{"function": {"name": t.procedure, "arguments": t.response}} for t in example.turns]
    found = tokens.calls(reply(content=None, tool_calls=calls))
    lines = "\n".join(f'{{"name": "{t.procedure}", "arguments": {t.response}}}' for t in example.turns)
    assert [p.call for p in found] == [p.call for p in text.calls(reply(content=lines))]
    assert [p.call for p in found] == list(expected_calls(example))


def test_a_row_says_how_many_requests_are_answered_alike(data: Data) -> None:
    right = [[call_of(turn, data.tools[0]) for turn in e.turns] for e in data.test]
    calls = [tuple(own) for own in right]
    other = [calls[0], (), *calls[2:]]
    made = row("llama.cpp", "Q8_0", False, data.test, other, calls)
    assert (made["weights"], made["schema"]) == ("Q8_0", False)
    assert (made["tool_f1"], made["call_exact"]) == (75.0, 75.0)
    assert (made["same_tools"], made["same_calls"]) == (75.0, 75.0)
    unread = [(call_of(Turn("weather", "{"), data.tools[0]),), *calls[1:]]
    spelled = [(call_of(Turn("weather", "{{"), data.tools[0]),), *calls[1:]]
    made = row("recall", "float32", False, data.test, unread, spelled)
    assert (made["same_tools"], made["same_calls"]) == (100.0, 75.0)


def test_rows_are_compared_with_text(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"tokens": (6.0, 0.5), "text": (2.0, 2.0)}
    loads = []

    def started(engine: Any, folder: Path, log: Path, load: Any) -> Any:
        loads.append((folder.name, load.parallel, load.context, load.cache))
        return nullcontext(folder.name)

    def asked(name: str, way: Any, examples: Sequence[Any], clients: int) -> dict[str, float]:
        return {"requests_per_second": speeds[name][0], "cpu_seconds": speeds[name][1]}

    monkeypatch.setattr(serving, "serving", started)
    monkeypatch.setattr(serving, "asked", asked)
    ways = {"tokens": as_tokens(data), "text": as_text(data)}
    rows = measure({name: Path(name) for name in ways}, ways, data.test, tmp_path, False, 8)
    assert [(row["tools_as"], row["times_text"], row["times_text_cpu"]) for row in rows] == [
        ("tokens", 3.0, 4.0),
        ("text", 1.0, 1.0),
    ]
    assert loads == [("tokens", 8, 8 * 512, False), ("text", 8, 8 * 4096, False)]


def test_the_engine_is_measured_and_not_its_guard() -> None:
    code = "print(sum(i * i for i in range(10**7)), flush=True); import time; time.sleep(60)"
    command = [sys.executable, "-m", "tokmem.serving.guard", sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guard:
        assert guard.stdout is not None
        guard.stdout.readline()  # the child has done its work
        engine = engine_of(Server("", "", ENGINES["llama.cpp"], Path("log"), guard))
        assert engine.pid != guard.pid
        assert sum(engine.cpu_times()[:2]) > 0.1
        guard.terminate()
