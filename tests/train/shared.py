"""A run over the rows of a bank, and examples with common beginnings, which tests of training share."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from tests.tiny import tiny_examples
from tokmem.bank.bank import Bank
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.settings import FitReport, FitSettings


def fit_bank(lm: MemoryLM, examples: list[Encoded], settings: FitSettings, **options: Any) -> FitReport:
    """Trains the fresh rows of a bank."""
    return fit(BankObjective(lm, **settings.prefixes), examples, settings, **options)


def shared_examples(bank: Bank, count: int, *, tasks: int = 3, seed: int = 0) -> list[Encoded]:
    """Tiny examples, in turn under the instructions (12 to 24 tokens) of `tasks` tasks; all begin alike."""
    rng = Random(7)  # instructions are the same whatever the seed
    start = tuple(rng.randrange(3, 90) for _ in range(20))
    instructions = [tuple(rng.randrange(3, 90) for _ in range(rng.randint(12, 24))) for _ in range(tasks)]
    return [
        _under(start + instructions[i % tasks], example)
        for i, example in enumerate(tiny_examples(bank, count, seed=seed))
    ]


def _under(instruction: tuple[int, ...], example: Encoded) -> Encoded:
    return replace(
        example,
        ids=(2, *instruction, *example.ids[1:]),
        supervised=(*[False] * len(instruction), *example.supervised),
        prefix=example.prefix + len(instruction),
    )
