"""Measures routing by closed-form and by trained addresses on real tasks: `python -m bench.routing`.

States at the ends of prompts are frozen, so they are read once and kept in a folder; all else is done with
them, and takes minutes on two CPU cores. Trained addresses lower the routing term of Eq. 3 and no other, in
blocks of tasks. Their rate is the best of several by the test queries in the end, which favours them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean, pstdev
from typing import Any

import torch
from rich.console import Console

from bench.routing_learners import Closed, Learner, NearestMean, Tasks, Trained, closed_bank
from bench.routing_reject import reject_rows
from bench.routing_states import PROMPTS, Reader, TaskStates, read_tasks
from bench.routing_texts import NearestExample, read_texts, text_kinds, text_tasks
from tokmem.bank.init import start_rows
from tokmem.bank.policy import STAND_INS, ClosedForm
from tokmem.data.corpus import Corpus
from tokmem.data.encode import PromptMode
from tokmem.files import atomic_write_json
from tokmem.methods.retrieval.text_encoder import SentenceEncoder
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.provenance import provenance
from tokmem.records import Example
from tokmem.report.read import STATES
from tokmem.report.tables import Table
from tokmem.seeds import generator

BLOCK, ORDERS, KEPT = 10, 10, 16
INSTRUCTIONS = "closed, stand-ins"
RATES = (0.002, 0.005, 0.02, 0.05)
CHAT = Path(__file__).with_name("chat.txt")


def accuracy(learner: Learner, known: Tasks, asked: Tasks) -> float:
    """Percent of the test queries of `asked` that reach their task among `known`."""
    names = [task.name for task in known]
    hits = [(learner.scores(t.test.states).argmax(-1) == names.index(t.name)).double() for t in asked]
    return 100 * float(torch.cat(hits).mean())


def follow(learner: Learner, tasks: Tasks) -> dict[str, float]:
    """Learns tasks in blocks; accuracy when each block was learned, of all then known, and in the end."""
    own, known = [], list[TaskStates]()
    for start in range(0, len(tasks), BLOCK):
        block = tasks[start : start + BLOCK]
        learner.learn(block)
        known += block
        own.append(accuracy(learner, known, block))
    return {"routing_accuracy": accuracy(learner, known, known), "when_learned": fmean(own)}


def cut(tasks: Tasks, examples: int) -> list[TaskStates]:
    """The tasks with their first so many training examples; those that have fewer are left out."""
    return [replace(t, train=t.train[:examples]) for t in tasks if len(t.train.states) >= examples]


def shuffled(tasks: Tasks, order: int) -> list[TaskStates]:
    """A random order of the tasks; 0 leaves them as they are."""
    found = list(tasks)
    if order:
        Random(order).shuffle(found)
    return found


def learners(start: torch.Tensor, lr: float) -> dict[tuple[str, str], Callable[[], Learner]]:
    """How each is made, by method and kind of addresses."""
    return {
        ("tokmem_dc", "closed, updated"): lambda: Closed(ClosedForm("updated")),
        ("tokmem_dc", "closed, frozen"): lambda: Closed(ClosedForm("frozen")),
        ("tokmem_dc", "trained"): lambda: Trained(start, lr),
        ("tokmem_dc", f"trained, {KEPT} kept states"): lambda: Trained(start, lr, kept=KEPT),
        ("nearest mean", "means"): NearestMean,
    }


def routing_rows(
    tasks: Tasks, prompt: str, start: torch.Tensor, sizes: Sequence[int], examples: Sequence[int]
) -> tuple[list[dict[str, Any]], float]:
    """Every method by number of tasks and examples, in the order of the corpus; and the rival's rate."""
    middle = cut(tasks[: sizes[len(sizes) // 2]], min(16, max(examples)))
    ends = {lr: follow(Trained(start, lr, kept=KEPT), middle)["routing_accuracy"] for lr in RATES}
    lr = max(ends, key=ends.__getitem__)
    found = []
    for size in sizes:
        for count in examples:
            chosen = cut(tasks[:size], count)
            if len(chosen) < size:
                continue
            for (method, addresses), make in learners(start, lr).items():
                row = {"method": method, "addresses": addresses, "tasks": size, "examples": count}
                found.append({**row, "prompt": prompt, "order": 0, **follow(make(), chosen)})
    return found, lr


def stand_in_rows(
    tasks: Tasks, prompt: str, sizes: Sequence[int], examples: Sequence[int]
) -> list[dict[str, Any]]:
    """Computed addresses whose instructions are also read with stand-in queries, without any example too."""
    found = []
    for size in sizes:
        for count in examples:
            chosen = cut(tasks[:size], count)
            if len(chosen) == size and all(len(task.stand_ins.states) for task in chosen):
                row = {"method": "tokmem_dc", "addresses": INSTRUCTIONS, "tasks": size, "examples": count}
                learner = Closed(ClosedForm(stand_ins=STAND_INS))
                found.append({**row, "prompt": prompt, "order": 0, **follow(learner, chosen)})
    return found


def text_rows(
    vectors: Mapping[str, Any], prompt: PromptMode, sizes: Sequence[int], examples: Sequence[int]
) -> list[dict[str, Any]]:
    """Sentence-BERT by number of tasks and examples, with and without instructions in its pool."""
    found = []
    for pool, names in text_kinds(prompt):
        tasks = text_tasks(vectors, prompt, pool)
        for size in sizes:
            for count in examples:
                chosen = cut(tasks[:size], count)
                if len(chosen) == size:
                    row = {**names, "tasks": size, "examples": count, "prompt": prompt, "order": 0}
                    found.append({**row, **follow(NearestExample(), chosen)})
    return found


def order_rows(
    tasks: Tasks, prompt: str, start: torch.Tensor, lr: float, size: int, examples: int
) -> list[dict[str, Any]]:
    """Each method in ten random orders, and how many queries change their task between them."""
    chosen, found = cut(tasks[:size], examples), []
    states = torch.cat([task.test.states for task in chosen])
    for (method, addresses), make in learners(start, lr).items():
        routes = []
        for order in range(1, ORDERS + 1):
            learner, arrival = make(), shuffled(chosen, order)
            scores = follow(learner, arrival)
            routes.append([arrival[i].name for i in learner.scores(states).argmax(-1).tolist()])
            changed = 100 * fmean(a != b for a, b in zip(routes[0], routes[-1], strict=True))
            row = {"method": method, "addresses": addresses, "tasks": len(chosen), "examples": examples}
            found.append({**row, "prompt": prompt, "order": order, **scores, "changed_routes": changed})
    return found


def spread(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the orders, a line for each kind of addresses and prompt."""
    found = []
    for key in dict.fromkeys((r["prompt"], r["method"], r["addresses"]) for r in rows):
        own = [r for r in rows if (r["prompt"], r["method"], r["addresses"]) == key]
        ends = [r["routing_accuracy"] for r in own]
        line = dict(zip(("prompt", "method", "addresses"), key, strict=True))
        found.append(
            {
                **line,
                "orders": len(own),
                "mean": fmean(ends),
                "std": pstdev(ends),
                "least": min(ends),
                "most": max(ends),
                "changed_routes": max(r["changed_routes"] for r in own),
            }
        )
    return found


def cost(tasks: Tasks) -> dict[str, float]:
    """Seconds to compute the addresses of all tasks from their states, and bytes that a bank keeps for it."""
    started = time.perf_counter()
    bank = closed_bank(tasks, ClosedForm())
    seconds = time.perf_counter() - started
    assert bank.statistics is not None
    kept = sum(states.nbytes for states in bank.states.values())
    sums = sum(tensor.nbytes for tensor in bank.statistics.tensors().values())
    return {"tasks": len(tasks), "seconds": seconds, "statistics_bytes": sums, "kept_states_bytes": kept}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads what is not read yet, measures, and writes both results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks-dir", type=Path, required=True, help="Super-NaturalInstructions task files")
    parser.add_argument("--states", type=Path, required=True, help="folder for what was read")
    parser.add_argument("--out", type=Path, default=Path("results/atomic"), help="folder for the results")
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 50, 147], help="numbers of tasks")
    parser.add_argument("--examples", type=int, nargs="+", default=[4, 16, 50])
    parser.add_argument("--test", type=int, default=20)
    parser.add_argument("--few", type=int, nargs=2, default=[16, 10], help="read of tasks beyond --deep")
    parser.add_argument("--deep", type=int, default=50, help="of so many tasks all examples are read")
    parser.add_argument("--text-tasks", type=int, default=0, help="of so many, Sentence-BERT reads the texts")
    parser.add_argument("--text-examples", type=int, default=16, help="most training texts of each")
    options = parser.parse_args(arguments)
    backbone = load_backbone(options.backbone, dtype=options.dtype)
    measure(options, backbone)


def embedded(options: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    """What Sentence-BERT makes of the texts, if it is asked for."""
    if not options.text_tasks:
        return {}
    encoder = SentenceEncoder()
    folder = options.states / encoder.name.replace("/", "-")
    return read_texts(encoder, folder, corpus, options.text_examples, options.text_tasks)


def measure(options: argparse.Namespace, backbone: Backbone) -> None:
    """Writes `routing.json` and `reject.json`."""
    reader = Reader(backbone, options.states)
    corpus = reader.corpus(options.tasks_dir, max(options.examples), options.test)
    weight = backbone.model.get_output_embeddings().weight
    start = start_rows("mean", weight, 1, generator=generator(0, "start"))[0]
    chat = reader.read("chat", "query", [Example(line) for line in CHAT.read_text("utf-8").splitlines()])
    vectors = embedded(options, corpus)
    found, orders, reject, rates = [], [], [], {}
    for prompt in PROMPTS:
        tasks = read_tasks(reader, corpus, prompt, tuple(options.few), options.deep)[: max(options.sizes)]
        more, rates[prompt] = routing_rows(tasks, prompt, start, options.sizes, options.examples)
        found += more + stand_in_rows(tasks, prompt, options.sizes, [0, 1, *options.examples])
        found += text_rows(vectors, prompt, options.sizes, options.examples)
        examples = min(options.few[0], max(options.examples))
        size = sorted(options.sizes)[len(options.sizes) // 2]
        orders += order_rows(tasks, prompt, start, rates[prompt], size, examples)
        for count in options.examples:
            if count <= options.few[0]:
                reject += reject_rows(cut(tasks, count), prompt, count, chat, Trained(start, rates[prompt]))
    source = provenance(
        0, corpus.checksum, backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    facts = {
        "kind": STATES,
        "backbone": backbone.id,
        "dtype": options.dtype,
        "trained_rates": rates,
        "provenance": source,
    }
    used = list(corpus.names[: max(options.sizes)])
    result = {
        "name": "routing",
        **facts,
        "rows": found + orders,
        "orders": spread(orders),
        "cost": cost(tasks),
    }
    atomic_write_json(options.out / "routing.json", {**result, "procedures": used})
    atomic_write_json(options.out / "reject.json", {"name": "reject", **facts, "rows": reject})
    for rows in (found, spread(orders), reject):
        shown = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in rows]
        Console().print(Table(shown, {k: k for k in shown[0]}).markdown(), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
