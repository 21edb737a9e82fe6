"""Trains independent runs of memorisation side by side; each stops by itself and keeps its best state.

A run learns its own sequences with a memory of its own. Its loss is the mean over its own tokens, its
sequences hold nothing of other runs, and AdamW moves each number by its own gradient. So runs that train
together get the result that each would get alone.

Letters: R runs, N supervised positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tokmem.config import Config, check_least
from tokmem.errors import DivergedError
from tokmem.eval.perplexity import TokenTally
from tokmem.log import postfix, progress
from tokmem.train.optim import Group, Schedule, build_adamw, check_schedule, rate, set_rate


@dataclass(frozen=True)
class MemoriseSettings(Config):
    """How long and how fast a run trains.

    Attributes:
        lr: AdamW's rate.
        steps: most optimizer steps; each step sees all sequences.
        check_every: steps between checks. A check measures, keeps the best embeddings, and may stop a run.
        patience: a run stops after this many checks without a lower loss; 0 never stops for this reason.
        enough: a run stops when its mean loss, in nats per token, is below this.
        warmup: share of the steps in which the rate rises.
        schedule: the rate after the warm-up: ``linear`` falls to zero, ``constant`` stays.
        batch_size: number of sequences that go through the model together; the result does not depend on it.
    """

    lr: float = 5e-3
    steps: int = 5000
    check_every: int = 100
    patience: int = 5
    enough: float = 0.0
    warmup: float = 0.0
    schedule: Schedule = "constant"
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_least(vars(self), dict.fromkeys(("steps", "check_every", "batch_size"), 1))
        check_least(vars(self), dict.fromkeys(("lr", "patience", "enough"), 0))
        check_schedule(self.warmup, self.schedule)


@dataclass
class RunRecord:
    """The outcome of a run.

    Attributes:
        start: (K, D) starting rows of the memory: K embeddings of D numbers.
        rows: (K, D) best rows of the memory.
        checks: step and tally of each check; the first check is at step 0.
        best_step: the step whose rows were kept.
    """

    start: Tensor
    rows: Tensor
    checks: list[tuple[int, TokenTally]] = field(default_factory=list)
    best_step: int = 0

    @property
    def best(self) -> TokenTally:
        """The tally at `best_step`."""
        return next(tally for step, tally in self.checks if step == self.best_step)

    def steps_to(self, share: float) -> int:
        """The first check with a perplexity of at most the best one divided by `share`; returns its step."""
        limit = self.best.perplexity / share
        return next(step for step, tally in self.checks if tally.perplexity <= limit)


class Forward(NamedTuple):
    """A micro-batch of B sequences.

    Attributes:
        places: for each sequence the index of its run among the active runs.
        counts: number of supervised tokens of each sequence; the N positions follow this order.
        losses: (N,) losses with graph.
        correct: computes (N,) whether each target is the model's first choice.
    """

    places: list[int]
    counts: list[int]
    losses: Tensor
    correct: Callable[[], Tensor]


class Memories(Protocol):
    """The memories of R runs."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The parameters of all runs."""

    def rows(self) -> list[Tensor]:
        """Copies of the rows (K, D) of each run."""

    def put(self, rows: Sequence[Tensor]) -> None:
        """Sets the rows (K, D) of each run."""

    def tokens(self, run: int) -> int:
        """The number of supervised tokens in the sequences of a run."""

    def forwards(self, active: Sequence[int], batch_size: int) -> Iterator[Forward]:
        """Yields a forward pass for each `batch_size` sequences of the active runs."""

    def mask_gradients(self) -> None:
        """Sets the gradient of numbers that must not move to zero; runs before each step."""


def train_memories(
    memories: Memories, settings: MemoriseSettings, desc: str = "memorising"
) -> list[RunRecord]:
    """Trains each run until it stops; the memories end with the best rows of each run.

    Args:
        memories: the memories of R runs.
        settings: how to train.
        desc: text beside the progress bar.

    Returns:
        R records.

    Raises:
        DivergedError: the loss is not finite.
    """
    return _SideBySide(memories, settings).go(desc)


def tally_each(losses: Tensor, correct: Tensor, counts: Sequence[int]) -> list[TokenTally]:
    """Tallies each sequence; the supervised tokens of a sequence follow those of the one before."""
    parts = zip(losses.detach().split(list(counts)), correct.split(list(counts)), strict=True)
    return [
        TokenTally(float(nll.double().sum()), int(right.sum()), n)
        for (nll, right), n in zip(parts, counts, strict=True)
    ]


class _SideBySide:
    """The state of one call of `train_memories`."""

    def __init__(self, memories: Memories, settings: MemoriseSettings) -> None:
        self.memories, self.settings = memories, settings
        self.optimizer = build_adamw([Group(memories.parameters)], settings.lr, 0.0)
        self.records = [RunRecord(rows, rows) for rows in memories.rows()]
        self.active = list(range(len(self.records)))
        self.stale = [0] * len(self.records)

    def go(self, desc: str) -> list[RunRecord]:
        """Trains until every run has stopped."""
        settings = self.settings
        with progress(settings.steps, desc, unit="step") as bar:
            for step in range(settings.steps + 1):
                last = step == settings.steps
                due = last or step % settings.check_every == 0
                with torch.set_grad_enabled(not last):
                    found = self._pass(check=due)
                if due:
                    self._check(step, found)
                    postfix(bar, loss=self._mean_loss(), running=len(self.active))
                if last or not self.active:
                    break
                self._step(step)
                bar.update()
        self.memories.put([record.rows for record in self.records])
        return self.records

    def _pass(self, *, check: bool) -> list[TokenTally]:
        """Runs forward, and backward if gradients are on; tallies the active runs if `check` is set."""
        self.optimizer.zero_grad(set_to_none=True)
        totals = [TokenTally() for _ in self.active]
        for part in self.memories.forwards(self.active, self.settings.batch_size):
            if part.losses.requires_grad:
                shares = [1.0 / self.memories.tokens(self.active[place]) for place in part.places]
                weights = torch.tensor(shares).repeat_interleave(torch.tensor(part.counts))
                (part.losses * weights.to(part.losses.device)).sum().backward()
            if check:
                found = tally_each(part.losses, part.correct(), part.counts)
                for place, tally in zip(part.places, found, strict=True):
                    totals[place] = totals[place] + tally
        return totals

    def _step(self, step: int) -> None:
        settings = self.settings
        lr = rate(step, settings.steps, settings.lr, settings.warmup, settings.schedule)
        set_rate(self.optimizer, lr)
        self.memories.mask_gradients()
        self.optimizer.step()

    def _check(self, step: int, found: Sequence[TokenTally]) -> None:
        """Keeps better rows, and stops runs that are done."""
        rows, still = self.memories.rows(), []
        for run, tally in zip(self.active, found, strict=True):
            if not math.isfinite(tally.nll):
                raise DivergedError(
                    f"loss {tally.nll} at step {step}", "a finite loss", "lower the rate, or use float32"
                )
            record = self.records[run]
            better = not record.checks or tally.nll < record.best.nll
            record.checks.append((step, tally))
            self.stale[run] = 0 if better else self.stale[run] + 1
            if better:
                record.rows, record.best_step = rows[run], step
            tired = 0 < self.settings.patience <= self.stale[run]
            if not tired and tally.mean_nll >= self.settings.enough:
                still.append(run)
        self.active = still

    def _mean_loss(self) -> float:
        return sum(record.checks[-1][1].mean_nll for record in self.records) / len(self.records)
