"""What numbers of few bits cost a served bank: llama.cpp beside our own recall, on the same requests.

Q4_1 is the backbone's own file: its layers have four bits a number, its embedding and the new rows eight
(Q8_0). The others are whole new files. Where addresses are computed, our recall has a gate that no export
has. So recall runs with the gate and without it; the files are compared with recall without it. Lines of
plain chat show what the gate is for: a call there is a mistake. All runs are greedy. Requests name no tools,
for llama.cpp would hold arguments to their schemas; where they do name them, our own recall is constrained
too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.serving import LONGEST, as_tokens, replies_of
from bench.serving_bank import DTYPE, Data, read_data, trained
from tokmem.data.calls.parse import call_of
from tokmem.eval.call_scores import score_calls
from tokmem.eval.tool_answers import expected_calls
from tokmem.export import export
from tokmem.export.gguf import Weights
from tokmem.files import atomic_write_json
from tokmem.methods.tokmem import TokMem
from tokmem.provenance import provenance
from tokmem.records import Example, ParsedCall
from tokmem.serving.engines import ENGINES, Load
from tokmem.serving.server import serving

OUT = Path("results/serving/weights.json")
CHAT = Path(__file__).with_name("chat.txt")
REQUESTS, CONTEXT = 150, 512
FILES: tuple[Weights | None, ...] = (None, "Q8_0", "F16")
KEPT = "Q4_1"  # the type of the backbone's own file
Calls = list[tuple[ParsedCall, ...]]


def recalled(memory: TokMem, data: Data, examples: Sequence[Example], constrained: bool = False) -> Calls:
    """The calls of our own recall."""
    tools = {tool.name: tool for tool in data.tools}
    answers = memory.recall(
        [e.query for e in examples],
        mode="chain",
        reject=True,
        constrained=constrained,
        max_new_tokens=LONGEST,
    )
    return [tuple(call_of(turn, tools[turn.procedure]) for turn in answer.turns) for answer in answers]


def calls_chat(memory: TokMem) -> float:
    """The share of lines of plain chat, in percent, that our own recall answers with a call."""
    lines = CHAT.read_text("utf-8").splitlines()
    answers = memory.recall(lines, mode="chain", reject=True, max_new_tokens=1)
    return 100 * fmean(bool(answer.turns) for answer in answers)


def served(
    memory: TokMem, data: Data, examples: Sequence[Example], weights: Weights | None, ways: Sequence[bool]
) -> list[Calls]:
    """The calls of llama.cpp on an export, for each of the ways: whether requests name the tools."""
    named, load = as_tokens(data), Load(1, CONTEXT, threads=1)
    bare = named._replace(request=lambda e: {"messages": named.request(e)["messages"]})
    with tempfile.TemporaryDirectory() as home:
        folder = export(memory, Path(home) / "served", to="gguf", weights=weights).folder
        with serving(ENGINES["llama.cpp"], folder, Path(home) / "log", load=load) as server:
            return [
                [way.calls(reply) for reply in replies_of(server, way, examples)]
                for way in (named if names else bare for names in ways)
            ]


def row(
    engine: str, weights: str, schema: bool, examples: Sequence[Example], calls: Calls, own: Calls
) -> dict[str, Any]:
    """Scores of calls, and how many requests are answered as our own recall answers them without its gate."""
    rates = score_calls([expected_calls(e) for e in examples], calls).overall
    pairs = list(zip(calls, own, strict=True))
    same = [[p.call or p.text for p in a] == [p.call or p.text for p in b] for a, b in pairs]
    tools = [[p.name for p in a] == [p.name for p in b] for a, b in pairs]
    return {
        "engine": engine,
        "weights": weights,
        "schema": schema,
        "requests": len(examples),
        "no_call": 100 * fmean(not one for one in calls),
        "tool_f1": rates.tool_f1,
        "call_f1": rates.call_f1,
        "call_exact": rates.call_exact,
        "same_tools": 100 * fmean(tools),
        "same_calls": 100 * fmean(same),
    }


def run(source: str, bank: Path, out: Path, requests: int) -> None:
    """Measures our own recall, and llama.cpp on each file."""
    data = read_data(source)
    memory, examples = trained(bank, data), data.test[:requests]
    gated, chat = recalled(memory, data, examples), calls_chat(memory)
    memory.bank.statistics = None  # and with them the gate
    own = {schema: recalled(memory, data, examples, schema) for schema in (False, True)}
    rows = [row("recall, gate", DTYPE, False, examples, gated, own[False]) | {"calls_chat": chat}]
    rows += [row("recall", DTYPE, schema, examples, calls, calls) for schema, calls in own.items()]
    rows[1]["calls_chat"] = calls_chat(memory)
    backbone = memory.backbone
    facts = {
        "tools": len(data.tools),
        "most_new_tokens": LONGEST,
        "versions": {name: version(name) for name in ("xllamacpp", "openai", "gguf")},
        "provenance": provenance(0, data.checksum, backbone.fingerprint, "cpu", backbone.source_sha256),
    }
    for weights in FILES:
        ways = (False, True) if weights is None else (False,)
        for names, calls in zip(ways, served(memory, data, examples, weights, ways), strict=True):
            rows.append(row("llama.cpp", weights or KEPT, names, examples, calls, own[names]))
        atomic_write_json(out, {"rows": rows, **facts})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and writes the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", help="calls in the columns of xLAM (see docs/data.md)")
    parser.add_argument("--bank", type=Path, required=True, help="folder of the bank; trained if missing")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    run(options.source, options.bank, options.out, options.requests)


if __name__ == "__main__":
    main()
