"""Times recall beside plain batched `generate` of transformers: `python -m bench.recall`.

All contenders answer the same queries greedily, with the same backbone and the same memory tokens: the first
token is a memory token, and no other follows. Backbones are the bundled one, and random weights at a 0.5 B
shape. `generate` runs a copy of the model that holds the bank's rows at the memory ids. Its batches are
padded on the left, in the queries' order and in order of length. A random backbone does not stop by itself,
so every contender ends a response where the query's own response ends. Each contender's answers are compared
with those of the first; divergences are listed with the margin between the two tokens. In half precision
plain `generate` differs from itself if its batches differ, so its second row shows how much of that comes
from the backbone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from rich.console import Console
from transformers import PreTrainedModel

from bench.recall_contenders import Answers, Contender, Ids, contenders
from bench.setup import RANDOM, SHAPE, Settings, build_bank, build_model, load_queries, prepare
from tokmem.bank.bank import Bank
from tokmem.bank.init import start_rows
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json
from tokmem.model.backbone import load_backbone
from tokmem.model.catalog import CATALOG, MINI, SMOLLM2
from tokmem.model.fingerprint import fingerprint
from tokmem.model.hardware import pick_device
from tokmem.provenance import provenance
from tokmem.records import Encoded, Procedure
from tokmem.report.tables import Table
from tokmem.seeds import generator

BACKBONES = (SMOLLM2, RANDOM)
BOTH = ("bfloat16", "float32")
SHOWN = 3  # divergences of a contender that the terminal shows; the result file lists all


def measure(
    runs: Mapping[str, Contender], prompts: Sequence[Ids], limits: Sequence[int], rounds: int
) -> dict[str, dict[str, Any]]:
    """Measures answers, seconds and processor seconds; each round runs one contender after the other.

    So other load on the machine affects all contenders alike. Two queries warm each one up.
    """
    found: dict[str, dict[str, Any]] = {name: {"seconds": [], "cpu_seconds": []} for name in runs}
    for run in runs.values():
        run(prompts[:2], limits[:2])
    for _ in range(rounds):
        for name, run in runs.items():
            started, cpu = time.perf_counter(), time.process_time()
            found[name]["answers"] = run(prompts, limits)  # lists mean that the device has finished
            found[name]["seconds"].append(time.perf_counter() - started)
            found[name]["cpu_seconds"].append(time.process_time() - cpu)
    return found


def divergences(answers: Answers, wanted: Answers) -> list[dict[str, Any]]:
    """Lists where answers first differ: the query, the position, both tokens (-1: the end)."""
    found = []
    for query, (ours, theirs) in enumerate(zip(answers, wanted, strict=True)):
        if ours != theirs:
            ours, theirs = [*ours, -1], [*theirs, -1]
            place = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            found.append({"query": query, "position": place, "got": ours[place], "wanted": theirs[place]})
    return found


def margin(model: PreTrainedModel, read: Ids, got: int, wanted: int) -> float:
    """Returns the difference of two tokens' logits after some tokens, in steps of the dtype's resolution.

    The order of a sum can make a step or two: such a choice is a tie.
    """
    ids = torch.tensor([read], device=model.device)
    one, other = model(ids, logits_to_keep=1).logits[0, -1, [got, wanted]].float().tolist()
    step = torch.finfo(model.dtype).eps * max(abs(one), abs(other))
    return abs(one - other) / step


def summarise(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Makes a row a contender; answers and speed are compared with the first."""
    first = next(iter(measured.values()))
    rows = []
    for name, found in measured.items():
        apart = divergences(found["answers"], first["answers"])
        seconds, count = median(found["seconds"]), len(found["answers"])
        rows.append(
            {
                "name": name,
                "queries_per_second": count / seconds,
                "speedup": median(first["seconds"]) / seconds,
                "identical": 1 - len(apart) / count,
                "seconds": found["seconds"],
                "cpu_seconds": found["cpu_seconds"],
                "divergences": apart,
            }
        )
    return rows


def run(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Measures every backbone in every dtype and returns the content of the result file.

    Raises:
        ConfigError: an unknown contender is asked for.
    """
    prepare(settings)
    queries = load_queries(settings)
    (examples,) = queries.batches
    dtypes = BOTH if options.dtype == "both" else (options.dtype,)
    rows, models = [], []
    for backbone in options.backbone or BACKBONES:
        for dtype in dtypes:
            model, bank = _build(replace(settings, dtype=dtype), backbone, queries.names)
            count = sum(p.numel() for p in model.parameters())
            name = f"{backbone}, {count / 1e6:,.0f} M"
            rows += [
                {"name": f"{row.pop('name')}; {name}, {dtype}", "backbone": name, "dtype": dtype, **row}
                for row in _contend(model, bank, examples, options)
            ]
            facts = {"parameters": count, "backbone_fingerprint": fingerprint(model)}
            models.append({"backbone": name, "dtype": dtype, **facts})
    return {
        "rows": rows,
        "models": models,
        "batch": options.group,
        "rows_decoded_together": options.rows,
        "rounds": options.rounds,
        "queries": {
            "source": queries.source,
            "count": len(examples),
            "procedures": len(queries.names),
            "mean_prompt_tokens": fmean(e.prefix for e in examples),
            "mean_response_tokens": fmean(_limit(e, options) for e in examples),
            "cut": queries.cut,
        },
        "threads": torch.get_num_threads(),
        "provenance": provenance(
            settings.seed, queries.checksum, models[-1]["backbone_fingerprint"], pick_device(settings.device)
        ),
    }


def _contend(
    model: PreTrainedModel, bank: Bank, examples: Sequence[Encoded], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Makes a row for each contender with this model."""
    prompts = [e.ids[: e.prefix] for e in examples]
    limits = [_limit(e, options) for e in examples]
    stops = [examples[0].ids[-1]]
    all_ = contenders(model, bank, stops, options.group, options.rows, options.max_new_tokens)
    chosen = asked_for(all_, options.only)
    with torch.inference_mode():
        measured = measure(chosen, prompts, limits, options.rounds)
        rows = summarise(measured)
        reference, wanted = next(iter(chosen.values())), next(iter(measured.values()))["answers"]
        for row in rows:
            for found in row["divergences"]:
                read = [*prompts[found["query"]], *wanted[found["query"]][: found["position"]]]
                pair = (stops[0] if i < 0 else i for i in (found["got"], found["wanted"]))
                found["margin"] = margin(reference.model, read, *pair)
    return rows


def asked_for(all_: Mapping[str, Contender], only: Sequence[str]) -> dict[str, Contender]:
    """Returns the contenders to time; the first of all is always among them, for comparison.

    Raises:
        ConfigError: an unknown contender is asked for.
    """
    if unknown := {*only} - {*all_}:
        raise ConfigError(f"contender {unknown.pop()!r}", f"one of {', '.join(all_)}")
    first = next(iter(all_))
    return {name: run for name, run in all_.items() if not only or name in {first, *only}}


def _limit(example: Encoded, options: argparse.Namespace) -> int:
    """Returns the most tokens to write for a query: the length of its own response."""
    return min(len(example.ids) - example.prefix, options.max_new_tokens)


def _build(settings: Settings, name: str, names: Sequence[str]) -> tuple[PreTrainedModel, Bank]:
    """Builds the backbone, and a bank with rows drawn from the backbone's own."""
    if name == RANDOM:
        model = build_model(settings)
        return model, build_bank(settings, model, names)
    backbone = load_backbone(name, dtype=settings.dtype, device=settings.device)
    bank = Bank(backbone.dim, backbone.id_space())
    draws = generator(settings.seed, "start")
    weight = backbone.model.get_input_embeddings().weight
    rows = start_rows("sampled", weight, len(names), generator=draws, descriptions=[()] * len(names))
    bank.add([Procedure(name) for name in names], rows[:, None])
    return backbone.model, bank


def show(result: Mapping[str, Any]) -> None:
    """Prints the table, and a few of the places where answers differ."""
    columns = {
        "name": "recall",
        "queries_per_second": "queries/s",
        "speedup": "x generate",
        "identical": "identical",
    }
    formats = {"queries_per_second": ".2f", "speedup": ".2f", "identical": ".1%"}
    queries = result["queries"]
    title = (
        f"Recall: {queries['count']} queries of {queries['procedures']} procedures, {queries['source']}; "
        f"{result['threads']} threads"
    )
    console = Console()
    console.print(Table(result["rows"], columns, formats, title).rich())
    for row in result["rows"]:
        for found in row["divergences"][:SHOWN]:
            console.print(
                f"{row['name']}: query {found['query']} at {found['position']}, "
                f"{found['margin']:.1f} steps of the dtype apart"
            )


def parse(arguments: Sequence[str] | None) -> tuple[Settings, argparse.Namespace]:
    """Parses the settings of model and data, and the options of this measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/bench/recall.json"), help="result file")
    parser.add_argument(
        "--queries", type=int, default=64, help="queries, of all procedures in a random order"
    )
    parser.add_argument("--procedures", type=int, default=10, help="memory tokens in the bank")
    parser.add_argument("--group", type=int, default=32, help="queries in a batch of generate")
    parser.add_argument("--rows", type=int, default=32, help="rows that TokMem decodes together")
    parser.add_argument("--rounds", type=int, default=2, help="timed rounds, of which the median counts")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="most tokens in a response")
    parser.add_argument(
        "--only", action="append", default=[], help="a contender to time beside the first; may be repeated"
    )
    parser.add_argument(
        "--backbone",
        action="append",
        help="random, mini, a hub id, or a local folder; may be repeated (default: smollm2 and random)",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--tasks-dir",
        default=os.environ.get("TOKMEM_SNI_DIR"),
        help="Super-NaturalInstructions task files (or TOKMEM_SNI_DIR); without them, generated procedures",
    )
    parser.add_argument("--tokenizer", help="that of a backbone (default: the first one's, or mini's)")
    parser.add_argument("--max-length", type=int, default=512, help="most tokens in a sequence")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32", "both"])
    parser.add_argument("--seed", type=int, default=0)
    for name, value in SHAPE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    first = (options.backbone or BACKBONES)[0]
    tokenizer = options.tokenizer or (MINI if first == RANDOM else first)
    tasks = options.tasks_dir and str(Path(options.tasks_dir).resolve())
    settings = Settings(
        backbone=RANDOM,  # for the queries alone; each backbone is built later
        **{name: getattr(options, name.replace("-", "_")) for name in map(_field, SHAPE)},
        dtype=BOTH[0] if options.dtype == "both" else options.dtype,
        batch=options.queries,
        steps=1,
        procedures=options.procedures,
        max_length=options.max_length,
        tasks_dir=tasks,
        tokenizer=tokenizer if tokenizer in CATALOG else str(Path(tokenizer).resolve()),
        device=options.device,
        threads=options.threads,
        lr=0.0,
        seed=options.seed,
    )
    return settings, options


def _field(name: str) -> str:
    return name.replace("-", "_")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the table."""
    settings, options = parse(arguments)
    result = run(settings, options)
    atomic_write_json(options.out, result)
    show(result)


if __name__ == "__main__":
    main()
