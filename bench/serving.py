"""Requests a second of llama.cpp: fifty tools as memory tokens against the same tools as text in the prompt.

The text names a tool a line, shows two solved queries, and asks for calls as lines of JSON. Both ways have
the same engine, quantised weights, queries and most new tokens. Seconds of the processor are counted beside
wall time, for they hardly change where other work shares the machine. The result file is written after each
pair of rows.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, NamedTuple

import psutil

from bench.serving_bank import Data, read_data, trained
from tokmem.data.calls.parse import call_of, written_calls
from tokmem.data.calls.schema import signature
from tokmem.data.calls.text import write_calls_text
from tokmem.eval.call_scores import score_calls
from tokmem.eval.tool_answers import expected_calls
from tokmem.export import export
from tokmem.export.gguf import FILE, fetched_source
from tokmem.files import atomic_write_json
from tokmem.methods.tokmem import TokMem
from tokmem.provenance import provenance
from tokmem.records import Example, ParsedCall
from tokmem.serving.client import answer_of, tool_list
from tokmem.serving.engines import ENGINES, Load
from tokmem.serving.server import Server, serving

OUT = Path("results/serving/throughput.json")
LONGEST = 96
PLAN = ((False, 1, 40), (True, 1, 40), (False, 8, 40), (True, 8, 40))  # prompt cache, clients, requests
HEADING = "Call tools. Write one JSON object a line. Tools:"


class Asked(NamedTuple):
    """How one way of naming tools is asked and read.

    Attributes:
        request: the messages and tools of a query.
        calls: the calls in a reply, the server's JSON.
        room: tokens of a prompt and its answer.
    """

    request: Callable[[Example], dict[str, Any]]
    calls: Callable[[Any], tuple[ParsedCall, ...]]
    room: int


def as_tokens(data: Data) -> Asked:
    """Tools are memory tokens; the request names them for the engine's parser alone."""
    procedures = {tool.name: tool for tool in data.tools}
    tools = tool_list(data.tools)

    def calls(reply: Any) -> tuple[ParsedCall, ...]:
        return tuple(call_of(turn, procedures[turn.procedure]) for turn in answer_of("", reply).turns)

    return Asked(lambda e: {"messages": [_user(e.query)], "tools": tools}, calls, 512)


def as_text(data: Data) -> Asked:
    """Tools are lines of the system prompt."""
    lines = "\n".join((HEADING, *map(signature, data.tools)))
    shown = data.train[:2]
    solved = [
        message
        for e in shown
        for message in (_user(e.query), {"role": "assistant", "content": write_calls_text(expected_calls(e))})
    ]
    known = {tool.name: tool for tool in data.tools}

    def request(example: Example) -> dict[str, Any]:
        return {"messages": [{"role": "system", "content": lines}, *solved, _user(example.query)]}

    return Asked(request, lambda reply: written_calls(answer_of("", reply).text, known), 4096)


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def replies_of(server: Server, way: Asked, examples: Sequence[Example], clients: int = 1) -> list[Any]:
    """Asks a server all queries, with so many clients at once; gives its replies as JSON."""
    from openai import OpenAI

    with OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=3600) as client:

        def ask(example: Example) -> Any:
            made = client.chat.completions.create(
                model=server.model, temperature=0, max_tokens=LONGEST, **way.request(example)
            )
            return made.model_dump()

        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(ask, examples))


def engine_of(server: Server) -> psutil.Process:
    """The process of the engine: the only child of the guard that the server's process is."""
    (engine,) = psutil.Process(server.process.pid).children()
    return engine


def asked(server: Server, way: Asked, examples: Sequence[Example], clients: int) -> dict[str, Any]:
    """Asks a server all queries, and makes a row of what that cost and how right the calls are."""
    engine = engine_of(server)
    before, started = sum(engine.cpu_times()[:2]), perf_counter()
    replies = replies_of(server, way, examples, clients)
    seconds = perf_counter() - started
    cpu = sum(engine.cpu_times()[:2]) - before
    report = score_calls([expected_calls(e) for e in examples], [way.calls(reply) for reply in replies])
    usage = [reply["usage"] for reply in replies]
    return {
        "requests": len(examples),
        "requests_per_second": len(examples) / seconds,
        "cpu_seconds": cpu / len(examples),
        "server_mb": engine.memory_info().rss / 1e6,
        "prompt_tokens": fmean(one["prompt_tokens"] for one in usage),
        "written_tokens": fmean(one["completion_tokens"] for one in usage),
        "tool_f1": report.overall.tool_f1,
        "call_exact": report.overall.call_exact,
    }


def measure(
    folders: Mapping[str, Path],
    ways: Mapping[str, Asked],
    examples: Sequence[Example],
    home: Path,
    cache: bool,
    clients: int,
) -> list[dict[str, Any]]:
    """Makes a row for each way of naming tools, with how many times the requests of text it answers."""
    engine, rows = ENGINES["llama.cpp"], []
    for tools_as, way in ways.items():
        load = Load(clients, clients * way.room, threads=1, cache=cache)
        with serving(engine, folders[tools_as], home / f"{tools_as}.log", load=load) as server:
            facts = {"engine": engine.name, "tools_as": tools_as, "clients": clients, "cache": cache}
            rows.append({**facts, **asked(server, way, examples, clients)})
    text = next(row for row in rows if row["tools_as"] == "text")
    return [
        {
            **row,
            "times_text": row["requests_per_second"] / text["requests_per_second"],
            "times_text_cpu": text["cpu_seconds"] / row["cpu_seconds"],
        }
        for row in rows
    ]


def cache_bytes(memory: TokMem) -> int:
    """Bytes that llama.cpp's cache holds for a token: keys and values of 16 bits in each layer."""
    config = memory.backbone.model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * size


def run(source: str, bank: Path, out: Path) -> None:
    """Measures all of the plan."""
    data = read_data(source)
    memory = trained(bank, data)
    ways, own, rows = {"tokens": as_tokens(data), "text": as_text(data)}, memory.backbone, []
    facts = {
        "tools": len(data.tools),
        "training_examples": len(data.train),
        "most_new_tokens": LONGEST,
        "threads": 1,
        "versions": {"xllamacpp": version("xllamacpp"), "openai": version("openai")},
        "provenance": provenance(0, data.checksum, own.fingerprint, "cpu", own.source_sha256),
    }
    per_token = cache_bytes(memory)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        folders = {"tokens": home / "tokens", "text": home / "text"}
        export(memory, folders["tokens"], to="gguf")
        folders["text"].mkdir()
        shutil.copy(fetched_source(memory), folders["text"] / FILE)
        for cache, clients, count in PLAN:
            made = measure(folders, ways, data.test[:count], home, cache, clients)
            rows += [{**row, "prompt_mb": row["prompt_tokens"] * per_token / 1e6} for row in made]
            atomic_write_json(out, {"rows": rows, **facts})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and writes the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", help="calls in the columns of xLAM (see docs/data.md)")
    parser.add_argument("--bank", type=Path, required=True, help="folder of the bank; trained if missing")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    run(options.source, options.bank, options.out)


if __name__ == "__main__":
    main()
