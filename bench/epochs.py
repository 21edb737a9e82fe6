"""Times whole epochs of TokMem's `fit`: `python -m bench.epochs`.

It times one epoch and three, with nothing cached at the start, beside the plain loop, PEFT, and one bare
forward pass over the same tokens. The bare pass runs each distinct prompt token and each supervised token
once, in the same batches, without a graph, with the head at supervised positions alone. It is timed before
and after `fit`, and the mean counts. The plain loop and PEFT keep nothing between steps, so a few steps
spread over the epoch give their speed. Tokens are counted as the plain loop sees them: whole prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from transformers import PreTrainedModel

from bench.contenders import BUILDERS, Trainer
from bench.peak import measure_peak, reset_peak
from bench.setup import Settings, build_bank, build_model, load_queries, prepare
from bench.train_step import agreement, describe, parse, wait
from tokmem.data.stream import Stream
from tokmem.files import atomic_write_json
from tokmem.model.hardware import pick_device
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import suitable_tokens
from tokmem.model.prefix_tree import pack
from tokmem.records import Encoded
from tokmem.report.tables import Table
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.prefix_cache import PrefixCache
from tokmem.train.settings import FitReport, FitSettings
from tokmem.train.speed import peak_bytes

OUT = Path("results/bench/epochs.json")
SAMPLED = 6  # timed steps of contenders that keep nothing
COLUMNS = {
    "name": "training",
    "tokens_per_second": "tokens/s",
    "speedup": "x plain",
    "seconds": "seconds",
    "over_bare": "x bare forward",
    "peak_gb": "peak GB",
    "memory_share": "of plain",
}
FORMATS = dict.fromkeys(("speedup", "over_bare", "peak_gb", "memory_share"), ".2f") | {"seconds": ".1f"}


def train(lm: MemoryLM, examples: Sequence[Encoded], settings: FitSettings) -> FitReport:
    """Trains the rows of the model's bank."""
    return fit(BankObjective(lm, **settings.prefixes), examples, settings)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds that a call takes."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


class Epochs:
    """The model and the examples of all measurements.

    Args:
        settings: settings of the measurement; its rounds make the epoch.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.queries = settings, load_queries(settings)
        self.model: PreTrainedModel = build_model(settings)
        self.device = torch.device(pick_device(settings.device))
        self.examples = [e for batch in self.queries.batches for e in batch]
        self.tokens = sum(len(e.ids) for e in self.examples)

    def lm(self) -> MemoryLM:
        """Makes the model with an untrained bank."""
        return MemoryLM(self.model, build_bank(self.settings, self.model, self.queries.names))

    def fit_settings(self, epochs: int) -> FitSettings:
        return FitSettings(lr=self.settings.lr, epochs=epochs, batch_size=self.settings.batch)

    def fit(self, epochs: int) -> tuple[float, float, FitReport]:
        """Returns seconds, peak bytes and report of a run with nothing cached."""
        lm, reports = self.lm(), []
        reset_peak()
        work = lambda: reports.append(train(lm, self.examples, self.fit_settings(epochs)))  # noqa: E731
        seconds = timed(work, self.device)
        return seconds, peak_bytes(), reports[0]

    def bare(self) -> tuple[float, int]:
        """Returns the seconds of a bare forward pass, and the number of its prompt tokens."""
        lm, stream, read = self.lm(), self.fit_settings(1).stream(len(self.examples)), list[int]()
        return timed(lambda: read.append(bare_forward(lm, self.examples, stream)), self.device), read[0]

    def validate(self) -> tuple[float, float]:
        """Returns the seconds of a first validation on the examples, and of a second."""
        lm = self.lm()
        objective = BankObjective(lm, **self.fit_settings(1).prefixes)
        objective.begin(self.examples, self.examples)

        def work() -> None:
            with torch.no_grad():
                list(objective.validation(self.examples, self.settings.batch, 64))

        return timed(work, self.device), timed(work, self.device)

    def sample(self, name: str) -> tuple[float, float]:
        """Returns tokens per second of a contender's steps and validation, spread evenly over the epoch."""
        contender = BUILDERS[name](self.model, self.lm().bank)
        trainer = Trainer(contender, self.settings.lr)
        batches = self.queries.batches[:: max(1, len(self.queries.batches) // SAMPLED)]
        tokens = sum(len(e.ids) for batch in batches for e in batch)

        def validate() -> None:
            with torch.no_grad():
                for batch in batches:
                    contender.loss(batch)

        trainer.step(batches[0])
        trained = timed(lambda: [trainer.step(batch) for batch in batches], self.device)
        return tokens / trained, tokens / timed(validate, self.device)


@torch.no_grad()
def bare_forward(lm: MemoryLM, examples: Sequence[Encoded], stream: Stream) -> int:
    """Runs each token of an epoch once; returns the number of prompt tokens among them."""
    rows, read = PrefixCache(lm, 0), 0
    rows.begin(examples)
    packs = [[stem.ids for stem in stems] for stems in rows.plan.packs]
    for window in stream.windows():
        prompts = dict.fromkeys(examples[i].ids[: examples[i].prefix] for i in window)
        rests = [ids[rows.plan.shared(ids) :] for ids in prompts]
        packs += [[rests[i] for i in chosen] for chosen in pack([*map(len, rests)], suitable_tokens(lm))]
    for sequences in packs:
        lm.packed(sequences)
        read += sum(map(len, sequences))
    for batch in stream.epoch(0):
        some = [examples[i] for i in batch.indices]
        states = lm.packed([e.ids[e.prefix : -1] for e in some])
        lm.head.native(torch.cat([states, states])[: sum(sum(e.supervised) for e in some)])
    return read


def run(settings: Settings) -> dict[str, Any]:
    """Measures everything and returns the content of the result file.

    Raises:
        TrainingError: the contenders do not compute the same thing.
    """
    peaks = {name: measure_peak(name, settings)["peak_gb"] for name in ("plain", "peft")}
    prepare(settings)
    made = Epochs(settings)
    train(made.lm(), made.examples[: settings.batch], made.fit_settings(1))  # warms up
    before, read = made.bare()
    one, one_peak, report = made.fit(1)
    three, three_peak, later = made.fit(3)
    bare = fmean((before, made.bare()[0]))  # a change in the machine's speed affects both
    validated = made.validate()
    agreed = agreement(settings, made.model, tuple(BUILDERS), made.queries)
    speeds = {name: made.sample(name) for name in ("plain", "peft")}
    rows: list[dict[str, Any]] = [
        {"name": f"{name}, one epoch", "seconds": made.tokens / speed, "peak_gb": peaks[name], "epochs": 1}
        for name, (speed, _) in speeds.items()
    ]
    rows += [
        {"name": "bare forward, one epoch", "seconds": bare, "epochs": 1},
        {"name": "tokmem, one epoch", "seconds": one, "peak_gb": one_peak / 1e9, "epochs": 1},
        {"name": "tokmem, three epochs", "seconds": three, "peak_gb": three_peak / 1e9, "epochs": 3},
    ]
    checks = [{"name": f"{name}, validation", "seconds": made.tokens / v} for name, (_, v) in speeds.items()]
    checks += [
        {"name": "tokmem, first validation", "seconds": validated[0]},
        {"name": "tokmem, later validation", "seconds": validated[1]},
    ]
    trained, checked = speeds["plain"]
    return {
        "rows": [
            *(compared(row, made.tokens, trained, bare, peaks["plain"]) for row in rows),
            *(compared(row | {"epochs": 1}, made.tokens, checked, bare, peaks["plain"]) for row in checks),
        ],
        **describe(settings, made.model, made.queries),
        "unique_prompt_tokens": report.read_tokens,
        "bare_prompt_tokens": read,
        "hits": {"one epoch": report.prefix_hits, "three epochs": later.prefix_hits},
        "prefix_gb": {"one epoch": report.prefix_bytes / 1e9, "three epochs": later.prefix_bytes / 1e9},
        "sampled_steps": len(made.queries.batches[:: max(1, len(made.queries.batches) // SAMPLED)]),
        "agreement": agreed,
    }


def compared(row: dict[str, Any], tokens: int, plain: float, bare: float, peak: float) -> dict[str, Any]:
    """Adds speed, and ratios to the plain loop and to the bare forward pass, to a row."""
    speed = row["epochs"] * tokens / row["seconds"]
    ratios = {"tokens_per_second": speed, "speedup": speed / plain, "over_bare": row["seconds"] / bare}
    return row | ratios | ({"memory_share": row["peak_gb"] / peak} if "peak_gb" in row else {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the table."""
    settings, out = parse(arguments, __doc__ or "", OUT, steps=36, procedures=10)
    result = run(settings)
    atomic_write_json(out, result)
    queries = result["queries"]
    title = (
        f"{queries['tokens']:,} tokens an epoch, {result['unique_prompt_tokens']:,} of prompts read, "
        f"{queries['supervised_tokens']:,} supervised"
    )
    Console().print(Table(result["rows"], COLUMNS, FORMATS, title).rich())


if __name__ == "__main__":
    main()
