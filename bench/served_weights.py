"""What numbers of few bits cost a served bank: llama.cpp beside our own recall, on the same requests.

`bytes kept` is the backbone's own file, whose matrices and new rows have four bits a number. The others are
whole new files. All runs are greedy.
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
from bench.serving_bank import BACKBONE, DTYPE, Data, read_data, trained
from tokmem.data.calls.parse import call_of
from tokmem.eval.call_scores import score_calls
from tokmem.eval.tool_answers import expected_calls
from tokmem.export import export
from tokmem.export.gguf import Weights
from tokmem.files import atomic_write_json
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import load_backbone
from tokmem.provenance import provenance
from tokmem.records import Example, ParsedCall
from tokmem.serving.engines import ENGINES, Load
from tokmem.serving.server import serving

OUT = Path("results/serving/weights.json")
REQUESTS, CONTEXT = 100, 512
FILES: tuple[Weights | None, ...] = (None, "Q8_0", "F16")
Calls = list[tuple[ParsedCall, ...]]


def recalled(memory: TokMem, data: Data, examples: Sequence[Example]) -> Calls:
    """The calls of our own recall."""
    tools = {tool.name: tool for tool in data.tools}
    answers = memory.recall([e.query for e in examples], mode="chain", reject=True, max_new_tokens=LONGEST)
    return [tuple(call_of(turn, tools[turn.procedure]) for turn in answer.turns) for answer in answers]


def served(memory: TokMem, data: Data, examples: Sequence[Example], weights: Weights | None) -> Calls:
    """The calls of llama.cpp on an export."""
    way, load = as_tokens(data), Load(1, CONTEXT, threads=1)
    with tempfile.TemporaryDirectory() as home:
        folder = export(memory, Path(home) / "served", to="gguf", weights=weights).folder
        with serving(ENGINES["llama.cpp"], folder, Path(home) / "log", load=load) as server:
            return [way.calls(reply) for reply in replies_of(server, way, examples)]


def row(engine: str, weights: str, examples: Sequence[Example], calls: Calls, own: Calls) -> dict[str, Any]:
    """Scores of calls, and how many requests are answered as our own recall answers them."""
    rates = score_calls([expected_calls(e) for e in examples], calls).overall
    pairs = list(zip(calls, own, strict=True))
    same = [[p.call or p.text for p in a] == [p.call or p.text for p in b] for a, b in pairs]
    tools = [[p.name for p in a] == [p.name for p in b] for a, b in pairs]
    return {
        "engine": engine,
        "weights": weights,
        "requests": len(examples),
        "tool_f1": rates.tool_f1,
        "call_f1": rates.call_f1,
        "call_exact": rates.call_exact,
        "same_tools": 100 * fmean(tools),
        "same_calls": 100 * fmean(same),
    }


def run(source: str, bank: Path, out: Path, requests: int) -> None:
    """Measures our own recall in two types of numbers, and llama.cpp on each file."""
    data = read_data(source)
    memory, examples = trained(bank, data), data.test[:requests]
    own = recalled(memory, data, examples)
    rows = [row("recall", DTYPE, examples, own, own)]
    whole = TokMem.load(bank, load_backbone(BACKBONE, dtype="float32"))
    rows.append(row("recall", "float32", examples, recalled(whole, data, examples), own))
    backbone = memory.backbone
    facts = {
        "tools": len(data.tools),
        "most_new_tokens": LONGEST,
        "versions": {name: version(name) for name in ("xllamacpp", "openai", "gguf")},
        "provenance": provenance(0, data.checksum, backbone.fingerprint, "cpu", backbone.source_sha256),
    }
    for weights in FILES:
        calls = served(memory, data, examples, weights)
        rows.append(row("llama.cpp", weights or "bytes kept (Q4_1)", examples, calls, own))
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
