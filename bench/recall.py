"""Times recall beside plain batched `generate` of transformers: `python -m bench.recall`.

All contenders answer the same queries with the same backbone and the same memory tokens, greedily, the first
token among memory tokens and no other after it. `generate` runs a copy of the model whose rows for the memory
ids are those of the bank, over batches padded on the left, in the queries' order and in that of their length.
A random backbone does not stop by itself, so a response ends where the query's own response ends, for all
alike. Every contender's answers are compared with those of the first; divergences are listed with the margin
between the two tokens. In half precision plain `generate` differs from itself where batches are put together
otherwise, so its second row says how much of that is in the backbone.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, StoppingCriteria

from bench.peak import peak_bytes, reset_peak
from bench.setup import Settings, build_bank, build_model, load_queries, prepare
from tokmem.bank.bank import Bank
from tokmem.bank.init import start_rows
from tokmem.data.collate import left_pad
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json
from tokmem.model.backbone import fingerprint, load_backbone, mini_path, pick_device
from tokmem.model.memory_lm import MemoryLM
from tokmem.provenance import provenance
from tokmem.recall.generate import Recaller, RecallSettings
from tokmem.records import Procedure
from tokmem.report.tables import Table
from tokmem.seeds import generator

Ids = Sequence[int]
Answers = list[list[int]]
Contender = Callable[[Sequence[Ids], Sequence[int]], Answers]
LISTED = 20  # divergences of a contender in the result file


class OneMemoryToken(LogitsProcessor):
    """Allows memory ids alone at the first position and bars them after it."""

    def __init__(self, memory: Tensor, start: int) -> None:
        self.memory, self.start = memory, start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] > self.start:
            return scores.index_fill(1, self.memory, -torch.inf)
        allowed = torch.full_like(scores, -torch.inf)
        return allowed.index_copy(1, self.memory, scores[:, self.memory])


class OwnLimits(StoppingCriteria):
    """Ends each row at its own length."""

    def __init__(self, limits: Tensor, start: int) -> None:
        self.limits, self.start = limits, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return self.limits <= input_ids.shape[1] - self.start


class Generate:
    """`generate` of transformers over padded batches.

    Args:
        model: a frozen model whose embedding is its head.
        bank: coupled; its ids replace rows of the model, or follow the last one.
        stops: ids that end a response.
        batch: queries in a batch.
        sort: whether batches hold queries of like length.
    """

    def __init__(self, model: PreTrainedModel, bank: Bank, stops: Ids, batch: int, sort: bool) -> None:
        embedding, self.ids = model.get_input_embeddings(), bank.slot_ids
        old = embedding.weight.detach()
        weight = old.new_zeros(max(len(old), int(self.ids.max()) + 1), old.shape[1])
        weight[: len(old)] = old
        weight[self.ids] = bank.steering.rows().to(weight)
        self.model = copy.deepcopy(model, {id(p): p for p in model.parameters() if p is not embedding.weight})
        self.model.get_input_embeddings().weight = torch.nn.Parameter(weight, requires_grad=False)
        self.model.tie_weights()
        self.stops, self.batch, self.sort = list(stops), batch, sort

    def __call__(self, prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) if self.sort else i)
        answers: dict[int, list[int]] = {}
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            found = self._batch([prompts[i] for i in chosen], [limits[i] for i in chosen])
            answers |= zip(chosen, found, strict=True)
        return [answers[i] for i in range(len(prompts))]

    def _batch(self, prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
        ids, mask, _ = (t.to(self.ids.device) for t in left_pad(prompts))
        start = ids.shape[1]
        out = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max(limits),
            eos_token_id=self.stops or None,
            pad_token_id=0,
            logits_processor=[OneMemoryToken(self.ids, start)],
            stopping_criteria=[OwnLimits(torch.tensor(limits, device=ids.device), start)],
        )[:, start:]
        return [self._cut(row[:limit]) for row, limit in zip(out.tolist(), limits, strict=True)]

    def _cut(self, ids: list[int]) -> list[int]:
        return next((ids[:i] for i, token in enumerate(ids) if token in self.stops), ids)


class TokMemRecall:
    """TokMem's own recall."""

    def __init__(self, lm: MemoryLM, stops: Ids, settings: RecallSettings) -> None:
        self.lm, self.recaller = lm, Recaller(lm, stops, settings)

    def __call__(self, prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
        found = self.recaller(prompts, limits=limits)
        slots = self.lm.bank.slots
        return [[i for name, ids in g.turns for i in (*slots.ids(name), *ids)] for g in found]


def contenders(
    model: PreTrainedModel, bank: Bank, stops: Ids, batch: int, rows: int, most: int
) -> dict[str, Contender]:
    """Those that are timed, the first of them the measure of the others."""
    lm = MemoryLM(model, bank)
    settings = RecallSettings(max_new_tokens=most, batch_size=rows)
    return {
        "generate": Generate(model, bank, stops, batch, sort=False),
        "generate, by length": Generate(model, bank, stops, batch, sort=True),
        "tokmem, padded": TokMemRecall(lm, stops, replace(settings, continuous=False, batch_size=batch)),
        "tokmem, prefixes not shared": TokMemRecall(lm, stops, replace(settings, shared_prefixes=False)),
        "tokmem": TokMemRecall(lm, stops, settings),
    }


def measure(run: Contender, prompts: Sequence[Ids], limits: Sequence[int], rounds: int) -> dict[str, Any]:
    """Answers, seconds and processor seconds of each round, and the peak of memory; two queries warm up."""
    run(prompts[:2], limits[:2])
    reset_peak()
    answers: Answers = []
    found: dict[str, Any] = {"seconds": [], "cpu_seconds": []}
    for _ in range(rounds):
        started, cpu = time.perf_counter(), time.process_time()
        answers = run(prompts, limits)  # as lists: the device has finished
        found["seconds"].append(time.perf_counter() - started)
        found["cpu_seconds"].append(time.process_time() - cpu)
    return {**found, "answers": answers, "peak_gb": peak_bytes() / 1e9}


def divergences(answers: Answers, wanted: Answers) -> list[dict[str, Any]]:
    """Where answers first part from those wanted: the query, the position, both tokens (-1: the end)."""
    found = []
    for query, (ours, theirs) in enumerate(zip(answers, wanted, strict=True)):
        if ours != theirs:
            ours, theirs = [*ours, -1], [*theirs, -1]
            place = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            found.append({"query": query, "position": place, "got": ours[place], "wanted": theirs[place]})
    return found


def margin(model: PreTrainedModel, read: Ids, got: int, wanted: int) -> float:
    """How far apart two tokens' logits are after some tokens, in steps of the dtype's resolution.

    A step or two are what the order of a sum makes of them: such a choice is a tie.
    """
    ids = torch.tensor([read], device=model.device)
    one, other = model(ids, logits_to_keep=1).logits[0, -1, [got, wanted]].float().tolist()
    step = torch.finfo(model.dtype).eps * max(abs(one), abs(other))
    return abs(one - other) / step


def summarise(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a contender; answers and speed are set against the first."""
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
                "peak_gb": found["peak_gb"],
                "seconds": found["seconds"],
                "cpu_seconds": found["cpu_seconds"],
                "divergences": apart,
            }
        )
    return rows


def run(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Measures everything; the content of the result file.

    Raises:
        ConfigError: a contender that is asked for does not exist.
    """
    prepare(settings)
    queries = load_queries(settings)
    (examples,) = queries.batches
    model, bank = _build(settings, options, queries.names)
    prompts = [e.ids[: e.prefix] for e in examples]
    limits = [min(len(e.ids) - e.prefix, options.max_new_tokens) for e in examples]
    stops = [examples[0].ids[-1]]
    all_ = contenders(model, bank, stops, options.group, options.rows, options.max_new_tokens)
    if unknown := {*options.only} - {*all_}:
        raise ConfigError(f"contender {unknown.pop()!r}", f"one of {', '.join(all_)}")
    with torch.inference_mode():
        measured = {
            name: measure(contender, prompts, limits, options.rounds)
            for name, contender in all_.items()
            if not options.only or name in options.only
        }
    rows = summarise(measured)
    reference, answers = all_["generate"], next(iter(measured.values()))["answers"]
    for row in rows:
        row["divergences"] = row["divergences"][:LISTED]
        for found in row["divergences"]:
            read = [*prompts[found["query"]], *answers[found["query"]][: found["position"]]]
            pair = (stops[0] if i < 0 else i for i in (found["got"], found["wanted"]))
            found["margin"] = margin(reference.model, read, *pair)
    return {
        "rows": rows,
        "backbone": "random weights" if options.backbone == "random" else options.backbone,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": settings.dtype,
        "batch": options.group,
        "rows_decoded_together": options.rows,
        "queries": {
            "source": queries.source,
            "count": len(prompts),
            "procedures": len(queries.names),
            "mean_prompt_tokens": fmean(map(len, prompts)),
            "mean_response_tokens": fmean(limits),
            "cut": queries.cut,
        },
        "threads": torch.get_num_threads(),
        "provenance": provenance(
            settings.seed, queries.checksum, fingerprint(model), pick_device(settings.device)
        ),
    }


def _build(
    settings: Settings, options: argparse.Namespace, names: Sequence[str]
) -> tuple[PreTrainedModel, Bank]:
    """The backbone, and a bank whose rows are drawn from the backbone's own."""
    if options.backbone == "random":
        model = build_model(settings)
        return model, build_bank(settings, model, names)
    backbone = load_backbone(options.backbone, dtype=settings.dtype, device=settings.device)
    bank = Bank(backbone.dim, backbone.id_space())
    draws = generator(settings.seed, "start")
    weight = backbone.model.get_input_embeddings().weight
    rows = start_rows("sampled", weight, len(names), generator=draws, descriptions=[()] * len(names))
    bank.add([Procedure(name) for name in names], rows[:, None])
    return backbone.model, bank


def show(result: Mapping[str, Any]) -> None:
    """Prints the table."""
    columns = {
        "name": "recall",
        "queries_per_second": "queries/s",
        "speedup": "x generate",
        "identical": "identical",
        "peak_gb": "peak GB",
    }
    formats = {"queries_per_second": ".2f", "speedup": ".2f", "identical": ".1%", "peak_gb": ".2f"}
    queries = result["queries"]
    title = (
        f"Recall: {result['parameters'] / 1e6:,.0f} M parameters in {result['dtype']}, {queries['count']} "
        f"queries of {queries['procedures']} procedures, {queries['source']}"
    )
    Console().print(Table(result["rows"], columns, formats, title).rich())


def parse(arguments: Sequence[str] | None) -> tuple[Settings, argparse.Namespace]:
    """Settings of model and data, and the options of this measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/bench/recall.json"), help="result file")
    parser.add_argument(
        "--queries", type=int, default=160, help="queries, of all procedures in a random order"
    )
    parser.add_argument("--procedures", type=int, default=10, help="memory tokens in the bank")
    parser.add_argument("--group", type=int, default=32, help="queries in a batch of generate")
    parser.add_argument("--rows", type=int, default=32, help="rows that TokMem decodes together")
    parser.add_argument("--rounds", type=int, default=1, help="timed rounds")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="most tokens in a response")
    parser.add_argument("--only", action="append", default=[], help="a contender to time; may be repeated")
    parser.add_argument("--backbone", default="random", help="random, mini, a hub id, or a local folder")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--tasks-dir",
        default=os.environ.get("TOKMEM_SNI_DIR"),
        help="Super-NaturalInstructions task files (or TOKMEM_SNI_DIR); without them, generated procedures",
    )
    parser.add_argument("--tokenizer", default=str(mini_path()), help="folder of a tokenizer")
    parser.add_argument("--max-length", type=int, default=512, help="most tokens in a sequence")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--seed", type=int, default=0)
    shape = {"layers": 24, "hidden": 896, "heads": 14, "kv-heads": 2, "intermediate": 4864, "vocab": 151936}
    for name, value in shape.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    tasks = options.tasks_dir and str(Path(options.tasks_dir).resolve())
    settings = Settings(
        **{name: getattr(options, name.replace("-", "_")) for name in map(_field, shape)},
        dtype=options.dtype,
        batch=options.queries,
        steps=1,
        procedures=options.procedures,
        max_length=options.max_length,
        tasks_dir=tasks,
        tokenizer=str(Path(options.tokenizer).resolve()),
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
