"""Measures a backbone on what it was trained for.

    python -m pretraining.evaluate --backbone build/mini/backbone --out results/mini/backbone.json

The training saw no input of a family and no word problem used here (`is_held_out_input`); requests for tools
are drawn at random. The result holds exact answers to instructions of each trained family (under a wording
drawn at random) and of the held-out families, arguments of the auxiliary tools and of tools that the training
never saw, and word problems. With `--tasks-dir` it also holds scores on Super-NaturalInstructions evaluation
tasks. `training` counts what all runs saw, `earlier` the part before the last run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean, median

import torch

from pretraining.families import TRAINED
from pretraining.tools import sample_chain, schema_line
from pretraining.train import totals
from tokmem.data import SniSpec, load_tasks
from tokmem.data.calls.text import arguments_json
from tokmem.eval.reasoning import final_answer
from tokmem.eval.rouge import score_texts
from tokmem.files import atomic_write_json
from tokmem.methods.base import Base
from tokmem.mini.arithmetic import sample_problem
from tokmem.mini.family import Family, Sampler
from tokmem.mini.procedures import DEMO, SETTINGS, is_held_out_input, sample_input
from tokmem.mini.tools import AUXILIARY, HELD_OUT, Tool
from tokmem.model.backbone import load_backbone
from tokmem.model.catalog import MINI
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Turn
from tokmem.seeds import stream
from tokmem.train.step import plain_loss


def instructed(family: Family) -> Sampler:
    """Draws an unseen input of a family under one of its wordings."""

    def sample(rng: Random) -> tuple[str, str]:
        query, response = sample_input(family, rng, held_out=True)
        return f"{rng.choice(family.wordings)}\n\n{query}", response

    return sample


def tool_arguments(tools: Sequence[Tool]) -> Sampler:
    """Draws a request for one of the tools with its schema, and the arguments."""

    def sample(rng: Random) -> tuple[str, str]:
        tool = rng.choice(tools)
        query, calls = sample_chain([tool], rng, 1)
        return f"{query}\n\n{schema_line(tool)}", arguments_json(calls[0].arguments)

    return sample


def word_problem(rng: Random) -> tuple[str, str]:
    """Draws a word problem and its final number."""
    while True:
        problem = sample_problem(rng)
        if is_held_out_input(problem.question):
            return problem.question, final_answer(problem.answer) or ""


OTHER = {
    "tool_arguments": tool_arguments(AUXILIARY),
    "held_out_tool_arguments": tool_arguments(HELD_OUT),
    "word_problem": word_problem,
}


def training(backbone: Path) -> dict[str, object]:
    """Returns what all runs of a backbone's training saw, and the other facts of its `training.json`."""
    path = backbone / "training.json"
    return json.loads(path.read_text()) | totals(path)


def draw(name: str, sample: Sampler, count: int) -> list[Example]:
    """Draws examples of one skill, with all references in `turns`."""
    rng = stream(1, "eval_mini", name)
    pairs = [sample(rng) for _ in range(count)]
    return [Example(query, (Turn(name, response),)) for query, response in pairs]


def exact(base: Base, samplers: dict[str, Sampler], count: int) -> dict[str, float]:
    """Returns the share of exact answers of each skill, in percent."""
    examples = [e for name, sample in samplers.items() for e in draw(name, sample, count)]
    answers = base.answer(examples)
    right: dict[str, list[bool]] = {name: [] for name in samplers}
    for example, answer in zip(examples, answers, strict=True):
        name, want = example.turns[0].procedure, example.turns[0].response
        got = final_answer(answer.text) if name == "word_problem" else answer.text
        right[name].append(got == want)
    return {name: round(100 * fmean(hits), 1) for name, hits in right.items()}


@torch.no_grad()
def held_out_loss(base: Base, examples: Sequence[Example]) -> float:
    """Returns the mean negative log-likelihood of a response token, in nats, on unseen inputs."""
    encoded = sorted((base.encoder.encode_plain(e) for e in examples), key=lambda e: len(e.ids))
    total, count = 0.0, 0
    for start in range(0, len(encoded), 64):
        loss = plain_loss(base.lm, encoded[start : start + 64])
        total, count = total + float(loss.total), count + loss.count
    return round(total / count, 4)


def natural_instructions(base: Base, folder: Path, tasks: Sequence[str], count: int) -> dict[str, float]:
    """Returns the ROUGE-L of each task when instructed."""
    corpus = load_tasks(folder, SniSpec(train_size=0, val_size=0, test_size=count, tasks=tuple(tasks)))
    examples = corpus.examples("test")
    scores = score_texts(
        [e.turns[0].procedure for e in examples],
        [e.accepted for e in examples],
        [a.text for a in base.answer(examples)],
    )
    return {name: round(rates.rouge_l, 1) for name, rates in scores.per_procedure.items()}


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Measures all figures of the result file."""
    backbone = load_backbone(str(args.backbone), dtype="float32", device=args.device)
    base = Base(backbone, recall=RecallSettings(max_new_tokens=96, batch_size=args.batch_size))
    skills = {f.name: instructed(f) for f in TRAINED}
    copying = {"copy": skills["copy"]}
    trained = exact(base, skills, args.count)
    result: dict[str, object] = {
        "backbone": MINI,
        "backbone_fingerprint": backbone.fingerprint,
        "training": training(args.backbone),
        "parameters": sum(p.numel() for p in backbone.model.parameters()),
        "examples_per_family": args.count,
        "median_exact_trained": median(trained.values()),
        "mean_exact_trained": round(fmean(trained.values()), 1),
        "copy": exact(base, copying, 10 * args.count)["copy"],
        "held_out_loss": held_out_loss(
            base, [e for n, sample in skills.items() for e in draw(n, sample, args.count)]
        ),
        "exact_held_out_instructed": exact(
            base, {f.name: instructed(f) for f in (*SETTINGS, *DEMO)}, args.count
        ),
        "exact_other": exact(base, OTHER, 4 * args.count),
        "exact_trained": dict(sorted(trained.items(), key=lambda item: -item[1])),
    }
    if args.tasks_dir:
        tasks = json.loads((args.tasks_dir.parent / "splits.json").read_text())["evaluation"]
        scores = natural_instructions(base, args.tasks_dir, tasks, args.count)
        result["natural_instructions_rouge_l"] = scores
        result["natural_instructions_mean_rouge_l"] = round(fmean(scores.values()), 1)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20, help="inputs a family")
    parser.add_argument(
        "--tasks-dir", type=Path, help="Super-NaturalInstructions tasks, splits.json beside them"
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    atomic_write_json(parsed.out, measure(parsed))
