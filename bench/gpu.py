"""Times TokMem on one accelerator, beside what the card can do: `python -m bench.gpu`.

First the card itself: the rate of a large matrix product and of a copy, in this run. Then for each backbone
whole epochs of `fit` beside plain loop, PEFT and one bare forward pass (as `bench.epochs` does), the step
with a bank of 1,000 memory tokens, and recall beside batched `generate`. A row says which share of the card's
rate its own arithmetic takes. Each part that is done is written at once, so a run that is cut keeps them. A
part that does not fit into the memory is named and left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from bench.bank_scale import Sized, measure
from bench.contenders import BUILDERS, Trainer
from bench.epochs import Epochs, timed
from bench.peak import reset_peak
from bench.recall import measure as measure_recall
from bench.recall import summarise
from bench.recall_contenders import contenders
from bench.setup import RANDOM, SHAPE, Settings, build_bank, prepare
from bench.train_step import agreement, describe_model, describe_queries, shape_of
from tokmem.files import atomic_write_json
from tokmem.model.catalog import MINI, SMOLLM2
from tokmem.model.fingerprint import fingerprint
from tokmem.model.hardware import pick_device
from tokmem.provenance import provenance
from tokmem.report.tables import Table
from tokmem.train.speed import peak_bytes

OUT = Path("results/bench/gpu.json")
SHAPES: Mapping[str, Mapping[str, int]] = {
    "0.5B": SHAPE,
    "3B": {"layers": 28, "hidden": 3072, "heads": 24, "kv-heads": 8, "intermediate": 8192, "vocab": 128256},
    "8B": {"layers": 32, "hidden": 4096, "heads": 32, "kv-heads": 8, "intermediate": 14336, "vocab": 128256},
}
BANKS = (10, 1_000)
CHECKED = 1e9  # weights; the check takes a copy of the backbone in float32
PRODUCT, COPIED = 8192, 2**30  # side of the matrix product; bytes of the copy
COLUMNS = {
    "backbone": "backbone",
    "batch": "batch",
    "name": "",
    "tokens_per_second": "tokens/s",
    "speedup": "x plain",
    "over_bare": "x bare",
    "share_of_peak": "of peak",
    "peak_gb": "peak GB",
}
FORMATS = {
    "tokens_per_second": ",.0f",
    "speedup": ".2f",
    "over_bare": ".2f",
    "share_of_peak": ".1%",
    "peak_gb": ".1f",
}


def ceilings(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Returns the card's measured rates: `tflops` of a matrix product, `gb_per_second` read and written."""
    side = PRODUCT if device.type == "cuda" else PRODUCT // 8
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.randint(256, (COPIED,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product, copy = _median(lambda: a @ b, device), _median(lambda: target.copy_(source), device)
    return {"tflops": 2 * side**3 / product / 1e12, "gb_per_second": 2 * COPIED / copy / 1e9}


def _median(work: Callable[[], object], device: torch.device, rounds: int = 9) -> float:
    work()
    return median(timed(work, device) for _ in range(rounds))


def arithmetic(parameters: int, prompt: int, rest: int, *, graph: bool) -> float:
    """Returns the floating-point operations of frozen weights: two a token and weight, and two backwards.

    Args:
        parameters: number of weights.
        prompt: tokens that run without a graph.
        rest: tokens that run with one, or all tokens.
        graph: whether the rest has a backward pass; frozen weights need only the gradient of their inputs.
    """
    return parameters * (2.0 * prompt + (4.0 if graph else 2.0) * rest)


class Measured:
    """One backbone with its queries, and what is measured on it.

    Args:
        name: of the backbone in the table.
        settings: of the measurement.
        rates: what `ceilings` found.
    """

    def __init__(self, name: str, settings: Settings, rates: Mapping[str, float]) -> None:
        self.name, self.settings, self.rates = name, settings, rates
        self.made = Epochs(settings)
        self.weights = sum(p.numel() for p in self.made.model.parameters())
        examples = self.made.examples
        self.prompt = sum(e.prefix for e in examples)
        self.rest = self.made.tokens - self.prompt

    def training(self) -> list[dict[str, Any]]:
        """Measures plain loop, PEFT, bare forward pass, one epoch and three."""
        made = self.made
        made.fit(1)  # warms up
        made.bare()
        bare, read = made.bare()
        every = arithmetic(self.weights, 0, self.prompt + self.rest, graph=True)
        rows = [
            self._contender("plain", every),
            self._contender("peft", every),
            {
                "name": "bare forward",
                "seconds": bare,
                "work": arithmetic(self.weights, read, self.rest, graph=False),
            },
        ]
        for epochs, name in ((1, "tokmem, one epoch"), (3, "tokmem, three epochs")):
            seconds, peak, report = made.fit(epochs)
            work = arithmetic(self.weights, report.read_tokens, self.rest * epochs, graph=True)
            rows.append(
                {"name": name, "seconds": seconds, "work": work, "peak_gb": peak / 1e9, "epochs": epochs}
            )
        plain = rows[0].get("seconds")
        return [self._row(row, plain, bare) for row in rows]

    def _contender(self, name: str, work: float) -> dict[str, Any]:
        """Measures the steps of a contender over the epoch, and the memory they take."""
        reset_peak()
        try:
            contender = BUILDERS[name](self.made.model, self.made.lm().bank)
            trainer = Trainer(contender, self.settings.lr)
            batches = self.made.queries.batches
            trainer.step(self.made.queries.longest)
            work_through = lambda: [trainer.step(batch) for batch in batches]  # noqa: E731
            work_through()  # each shape once: the first use of a kernel loads it
            seconds = timed(work_through, self.made.device)
        except torch.OutOfMemoryError:
            return {"name": f"{name}, out of memory"}
        return {"name": name, "seconds": seconds, "work": work, "peak_gb": peak_bytes() / 1e9}

    def _row(self, row: dict[str, Any], plain: float | None, bare: float) -> dict[str, Any]:
        known = {"backbone": self.name, "batch": self.settings.batch, **row}
        if "seconds" not in row:
            return known
        epochs = row.get("epochs", 1)
        speed = epochs * self.made.tokens / row["seconds"]
        return known | {
            "tokens_per_second": speed,
            "speedup": plain and epochs * plain / row["seconds"],
            "over_bare": row["seconds"] / epochs / bare,
            "share_of_peak": row["work"] / row["seconds"] / (self.rates["tflops"] * 1e12),
        }

    def agreement(self) -> dict[str, Any]:
        """Checks equal work in float32, and says what the dtype costs each (see `bench.train_step`)."""
        return agreement(self.settings, self.made.model, tuple(BUILDERS), self.made.queries)

    def banks(self) -> list[dict[str, Any]]:
        """Measures a step with banks of several sizes."""
        made = self.made
        sized = [Sized(self.settings, made.model, made.queries, size) for size in BANKS]
        return [
            {"backbone": self.name, "batch": self.settings.batch, **r} for r in measure(sized, made.queries)
        ]

    def recall(self, count: int, most: int) -> list[dict[str, Any]]:
        """Measures recall of `count` queries in one batch; random weights stop where a response would."""
        examples = (self.made.examples * count)[:count]
        prompts = [e.ids[: e.prefix] for e in examples]
        limits = [min(len(e.ids) - e.prefix, most) for e in examples]
        bank = build_bank(self.settings, self.made.model, self.made.queries.names)
        stops = [examples[0].ids[-1]]
        runs = contenders(self.made.model, bank, stops, count, count, most)
        chosen = {name: runs[name] for name in ("generate", "generate, by length", "tokmem")}
        with torch.inference_mode():
            rows = summarise(measure_recall(chosen, prompts, limits, 1))
        for row in rows:
            row["divergent"] = len(row.pop("divergences"))
            row["queries"] = count
        return [{"backbone": self.name, **row} for row in rows]


def settings_of(name: str, options: argparse.Namespace, batch: int) -> Settings:
    """Makes the settings of a backbone, by its name in the table."""
    shape = shape_of(name) if name not in SHAPES else SHAPES[name]
    return Settings(
        backbone=RANDOM if name in SHAPES else name,
        **{key.replace("-", "_"): value for key, value in shape.items()},
        dtype=options.dtype,
        batch=batch,
        steps=max(1, options.examples // batch),
        procedures=10,
        max_length=512,
        tasks_dir=options.tasks_dir,
        tokenizer=MINI if name in SHAPES else name,
        device=options.device,
        threads=0,
        lr=5e-3,
        seed=0,
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures every backbone; writes the result file after each part."""
    device = torch.device(pick_device(options.device))
    rates = ceilings(device, getattr(torch, options.dtype))
    found: dict[str, Any] = {
        "rows": [],
        "banks": [],
        "recall": [],
        "backbones": {},
        "models": {},
        "agreement": {},
        "left_out": [],
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "measured": rates,
        "dtype": options.dtype,
    }
    for name in options.backbone:
        for batch in options.batch:
            measure_one(found, Measured(name, settings_of(name, options, batch), rates), options, str(device))
    return written(found)


def measure_one(found: dict[str, Any], one: Measured, options: argparse.Namespace, device: str) -> None:
    """Adds what is measured on one backbone at one batch size; the last batch size has all parts."""
    name, batch, made = one.name, one.settings.batch, one.made
    prepare(one.settings)
    mark = fingerprint(made.model)
    found["models"][name] = {"backbone": name, "backbone_fingerprint": mark}
    found["backbones"][name] = {
        "model": describe_model(made.model, one.settings),
        "queries": describe_queries(made.queries),
    }
    if one.weights < CHECKED and name not in found["agreement"]:
        found["agreement"][name] = one.agreement()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {"rows": one.training}
    if batch == options.batch[-1]:
        parts |= {"banks": one.banks, "recall": lambda: one.recall(options.recalled, options.most)}
    for part, work in parts.items():
        attempt(found, part, f"{name}, batch {batch}", work)
        found["provenance"] = provenance(0, made.queries.checksum, mark, device)
        atomic_write_json(options.out, written(found))


def written(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the result file holds: the backbones' fingerprints as a list."""
    return {**found, "models": [*found["models"].values()]}


def attempt(found: dict[str, Any], part: str, where: str, work: Callable[[], list[dict[str, Any]]]) -> None:
    """Adds the rows of a part, or says that the memory is too small for it."""
    started = time.perf_counter()
    try:
        found[part] += work()
    except torch.OutOfMemoryError:
        found["left_out"].append(f"{part} of {where}: out of memory")
    Console(stderr=True).print(f"{where}: {part} in {time.perf_counter() - started:.0f} s")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help="result file")
    parser.add_argument(
        "--backbone",
        action="append",
        help=f"{', '.join(SHAPES)} (random weights), or a backbone with weights; may be repeated",
    )
    parser.add_argument("--batch", action="append", type=int, help="queries a step; may be repeated")
    parser.add_argument("--examples", type=int, default=128, help="queries in an epoch")
    parser.add_argument("--recalled", type=int, default=256, help="queries that recall answers together")
    parser.add_argument("--most", type=int, default=48, help="most tokens in a response")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument(
        "--tasks-dir",
        default=os.environ.get("TOKMEM_SNI_DIR"),
        help="Super-NaturalInstructions task files (or TOKMEM_SNI_DIR); without them, generated procedures",
    )
    options = parser.parse_args(arguments)
    options.backbone = options.backbone or [SMOLLM2, *SHAPES]
    options.batch = options.batch or [4, 16]
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the tables."""
    result = run(parse(arguments))
    rates, console = result["measured"], Console(width=140)
    title = (
        f"{result['card']}: {rates['tflops']:.0f} TFLOP/s in {result['dtype']} and "
        f"{rates['gb_per_second'] / 1e3:.2f} TB/s, measured"
    )
    console.print(Table(result["rows"], COLUMNS, FORMATS, title).rich())
    banks = {"backbone": "backbone", "memory_tokens": "memory tokens", "step_seconds": "step, seconds"}
    console.print(Table(result["banks"], banks, {"step_seconds": ".4f"}, "Banks").rich())
    recalls = {"backbone": "backbone", "name": "recall", "queries_per_second": "queries/s"}
    recalls |= {"speedup": "x generate", "identical": "identical"}
    formats = {"queries_per_second": ".1f", "speedup": ".2f", "identical": ".1%"}
    console.print(Table(result["recall"], recalls, formats, "Recall").rich())


if __name__ == "__main__":
    main()
