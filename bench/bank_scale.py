"""Times training and routing with 10, 1,000 and 100,000 memory tokens: `python -m bench.bank_scale`.

All banks see the same queries. Each size is measured twice. In a coupled bank every row trains, and the
memory tokens of the queries are spread over it. A bank with computed addresses has grown to its size: the
queries' procedures are new, and only their steering trains. A step reads its prompts (nothing shared,
nothing cached) and runs forward, backward and AdamW. Routing ranks all memory tokens for queries that were
read before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedModel

from bench.contenders import suffix_step
from bench.epochs import timed
from bench.peak import reset_peak
from bench.setup import Queries, Settings, build_model, load_queries, memory_ids, prepare
from bench.train_step import describe, parse
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json
from tokmem.methods.closed import given
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import Prefix, read_prefixes
from tokmem.recall.route import route
from tokmem.records import Encoded, Procedure
from tokmem.report.tables import Table
from tokmem.seeds import generator
from tokmem.train.optim import Group, build_adamw
from tokmem.train.speed import peak_bytes
from tokmem.train.steering import SteeringObjective
from tokmem.train.step import frozen_prefix_states

OUT = Path("results/bench/bank_scale.json")
SIZES = (10, 1_000, 100_000)
WARM_UP = 3  # steps
COLUMNS = {
    "kind": "bank",
    "memory_tokens": "memory tokens",
    "step_seconds": "step, seconds",
    "step_ratio": "x the smallest",
    "suffix_seconds": "prompts cached",
    "suffix_ratio": "x the smallest",
    "routing_ms": "routing, ms a query",
    "bank_gb": "bank GB",
    "peak_gb": "peak GB",
}
FORMATS = dict.fromkeys(("step_ratio", "suffix_ratio", "routing_ms", "peak_gb"), ".2f") | {
    "step_seconds": ".2f",
    "suffix_seconds": ".2f",
    "bank_gb": ".4f",
}


def build_large_bank(settings: Settings, size: int) -> Bank:
    """Builds a coupled bank past the vocabulary's end, with rows as long as the backbone's own."""
    bank = Bank(settings.hidden, IdSpace(memory_ids(settings).rows))
    bank.add(procedures(size), random_rows(settings, size, "bank"))
    return bank


def build_grown_bank(settings: Settings, size: int) -> Bank:
    """Builds a decoupled bank of the same size; all rows but those of the last procedures are frozen."""
    bank = Bank(settings.hidden, IdSpace(memory_ids(settings).rows), coupled=False)
    parts = (random_rows(settings, size, name) for name in ("bank", "addresses"))
    made, steering, address = procedures(size), next(parts), next(parts)[:, 0]
    old = size - settings.procedures
    bank.add(made[:old], steering[:old], address[:old])
    bank.freeze()
    bank.add(made[old:], steering[old:], address[old:])
    return bank


def procedures(size: int) -> list[Procedure]:
    return [Procedure(f"procedure {i}") for i in range(size)]


def random_rows(settings: Settings, size: int, name: str) -> Tensor:
    """(size, 1, d) rows, as long as the backbone's own."""
    return torch.randn(size, 1, settings.hidden, generator=generator(settings.seed, name)) * 0.02


def spread(queries: Queries, settings: Settings, bank: Bank) -> list[list[Encoded]]:
    """Returns the queries' batches with memory tokens that are spread over `bank`."""
    return moved(queries, settings, bank.slots.token_ids[:: len(bank) // settings.procedures])


def moved(queries: Queries, settings: Settings, ids: Sequence[int]) -> list[list[Encoded]]:
    """Returns the queries' batches with these memory tokens, one for each procedure."""
    to = dict(zip(memory_ids(settings).spare, ids, strict=False))
    return [[replace(e, ids=tuple(to.get(i, i) for i in e.ids)) for e in batch] for batch in queries.batches]


class Sized:
    """A coupled bank of one size, its optimizer, and the queries with its memory tokens. Every row trains."""

    kind = "coupled, every row trains"

    def __init__(self, settings: Settings, model: PreTrainedModel, queries: Queries, size: int) -> None:
        self.size, self.bank = size, self.build(settings, size)
        self.lm = self.learner(model)
        self.router = MemoryLM(model, self.bank)
        self.optimizer = build_adamw([Group([self.bank.steering.fresh])], settings.lr, 0.0)
        self.batches = self.examples(queries, settings)
        self.read: list[Prefix] = []
        reset_peak()
        for batch in self.batches[:WARM_UP]:  # allocates AdamW's moments and a step's memory
            self.step(batch)
        self.peak = peak_bytes()

    def build(self, settings: Settings, size: int) -> Bank:
        return build_large_bank(settings, size)

    def learner(self, model: PreTrainedModel) -> MemoryLM:
        return MemoryLM(model, self.bank)

    def examples(self, queries: Queries, settings: Settings) -> list[list[Encoded]]:
        return spread(queries, settings, self.bank)

    def step(self, batch: Sequence[Encoded]) -> tuple[float, float]:
        """Returns the seconds for reading the prompts of a batch, and for the rest of the step."""
        return timed(lambda: self._prompts(batch), self.lm.device), timed(
            lambda: self.suffixes(batch), self.lm.device
        )

    def _prompts(self, batch: Sequence[Encoded]) -> None:
        self.read = read_prefixes(self.lm, [e.ids[: e.prefix] for e in batch])

    def suffixes(self, batch: Sequence[Encoded]) -> None:
        """Trains on a batch whose prompts were read."""
        suffix_step(self.lm, self.optimizer, batch, self.read)

    def row(self, times: Sequence[tuple[float, float]]) -> dict[str, Any]:
        """Makes a row of the table from the seconds of the steps."""
        states = torch.stack([p.hidden for p in self.read])
        return {
            "kind": self.kind,
            "memory_tokens": self.size,
            "step_seconds": median(a + b for a, b in times),
            "suffix_seconds": median(b for _, b in times),
            "routing_ms": median(routing(self.router, states) for _ in range(5)) * 1e3 / len(states),
            "bank_gb": sum(t.frozen.nbytes + t.fresh.nbytes for t in self.bank.tables) / 1e9,
            "peak_gb": self.peak / 1e9,
        }


class Grown(Sized):
    """A bank with computed addresses that has grown to its size; only the steering of the new rows trains."""

    kind = "computed addresses, new rows train"

    def build(self, settings: Settings, size: int) -> Bank:
        return build_grown_bank(settings, size)

    def learner(self, model: PreTrainedModel) -> MemoryLM:
        return MemoryLM(model, self.bank, writes=False)

    def examples(self, queries: Queries, settings: Settings) -> list[list[Encoded]]:
        ids = self.bank.slots.token_ids[-settings.procedures :]
        return [[given(example, ids) for example in batch] for batch in moved(queries, settings, ids)]

    def suffixes(self, batch: Sequence[Encoded]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        objective = SteeringObjective(self.lm, frozen_prefix=True, cache_bytes=0)
        objective.score(batch, *frozen_prefix_states(self.lm, batch, self.read)).total.backward()
        self.optimizer.step()


def measure(made: Sequence[Sized], queries: Queries) -> list[dict[str, Any]]:
    """Measures a row a bank. A round is one step of each bank, so a slowing machine slows all alike."""
    rounds = [[one.step(one.batches[i]) for one in made] for i in range(len(queries.batches))]
    return [one.row(times) for one, times in zip(made, zip(*rounds, strict=True), strict=True)]


@torch.no_grad()
def routing(lm: MemoryLM, states: Tensor) -> float:
    """Returns the seconds for ranking all memory tokens for queries with these last states."""
    frozen = lm.head.frozen(states)  # the same for every bank
    return timed(lambda: route(frozen, lm.head.memory(states), lm.bank.names), lm.device)


def run(settings: Settings, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Measures every size and returns the content of the result file.

    Raises:
        ConfigError: a bank is smaller than the number of procedures.
    """
    if settings.procedures > min(sizes):
        raise ConfigError(
            f"{settings.procedures} procedures in a bank of {min(sizes)}", "a memory token each"
        )
    prepare(settings)
    queries, model = load_queries(settings), build_model(settings)
    # Rising, so that the peak of one holds no larger bank that is still in memory.
    made = [kind(settings, model, queries, size) for size in sizes for kind in (Grown, Sized)]
    rows = sorted(measure(made, queries), key=lambda row: str(row["kind"]), reverse=True)
    ratios = {"step_ratio": "step_seconds", "suffix_ratio": "suffix_seconds"}
    smallest = {row["kind"]: row for row in reversed(rows)}
    return {
        "rows": [row | {k: row[v] / smallest[row["kind"]][v] for k, v in ratios.items()} for row in rows],
        **describe(settings, model, queries),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the table."""
    settings, out = parse(arguments, __doc__ or "", OUT, steps=12, procedures=10)
    result = run(settings)
    atomic_write_json(out, result)
    Console().print(Table(result["rows"], COLUMNS, FORMATS, "Size of the bank").rich())


if __name__ == "__main__":
    main()
