"""How long runs of memorisation train, when each stops, and which of its states is kept.

A run holds its own sequences in a memory of its own. Its loss is the mean over its own tokens, nothing of
one run stands in a sequence of another, and AdamW moves each number by its own gradient alone: trained
together each gets what it would get alone.

Letters: R runs, N supervised positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tokmem.config import check_least
from tokmem.errors import TrainingError
from tokmem.eval.perplexity import TokenTally
from tokmem.log import postfix, progress
from tokmem.train.optim import Group, Schedule, build_adamw, check_schedule, rate, set_rate


@dataclass(frozen=True)
class MemoriseSettings:
    """How long and how fast a run trains.

    Attributes:
        lr: AdamW's rate.
        steps: most optimizer steps; every one sees all sequences.
        check_every: steps between checks; a check measures, keeps the best embeddings, and may stop a run.
        patience: checks without a better one after which a run stops; 0 never stops for that.
        enough: a run stops when its mean loss, in nats a token, is below this.
        warmup: share of the steps in which the rate rises.
        schedule: what follows: linear to zero, or constant.
        batch_size: sequences that go through the model together; the result does not hang on it.
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
    """What became of a run.

    Attributes:
        start: (K, D) what the memory began as: K embeddings of D numbers.
        rows: (K, D) the best it became.
        checks: step and tally of each check, the first at step 0.
        best_step: the step whose rows were kept.
    """

    start: Tensor
    rows: Tensor
    checks: list[tuple[int, TokenTally]] = field(default_factory=list)
    best_step: int = 0

    @property
    def best(self) -> TokenTally:
        """The tally of the rows that were kept."""
        return next(tally for step, tally in self.checks if step == self.best_step)

    def steps_to(self, share: float) -> int:
        """The first checked step whose perplexity is at most the best one divided by `share`."""
        limit = self.best.perplexity / share
        return next(step for step, tally in self.checks if tally.perplexity <= limit)


class Forward(NamedTuple):
    """A micro-batch of B sequences.

    Attributes:
        places: of each sequence the place of its run among the active ones.
        counts: supervised tokens of each sequence, in whose order the N positions stand.
        losses: (N,) with graph.
        correct: (N,) whether each target is the model's first choice; worked out when called.
    """

    places: list[int]
    counts: list[int]
    losses: Tensor
    correct: Callable[[], Tensor]


class Memories(Protocol):
    """What R runs train."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """Of all runs."""

    def rows(self) -> list[Tensor]:
        """(K, D) of each run, copies."""

    def put(self, rows: Sequence[Tensor]) -> None:
        """Sets what `rows` reads."""

    def tokens(self, run: int) -> int:
        """How many supervised tokens the sequences of a run have."""

    def forwards(self, active: Sequence[int], batch_size: int) -> Iterator[Forward]:
        """The sequences of the active runs, at most so many at a time."""

    def mask_gradients(self) -> None:
        """Sets to zero the gradient of what is not to move; before every step."""


def train_memories(
    memories: Memories, settings: MemoriseSettings, desc: str = "memorising"
) -> list[RunRecord]:
    """Trains every run until it stops; the memories end with the best state of each.

    Args:
        memories: of R runs.
        settings: how to train.
        desc: shown beside the progress bar.

    Returns:
        R records.

    Raises:
        TrainingError: the loss is not finite.
    """
    return _SideBySide(memories, settings).go(desc)


def tally_each(losses: Tensor, correct: Tensor, counts: Sequence[int]) -> list[TokenTally]:
    """Of each sequence, whose `counts` supervised tokens stand one after the other."""
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
        """Runs until every run has stopped."""
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
        """Forward, and backward where gradients are on; tallies of the active runs, where asked for."""
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
        """Keeps what is better, and lets runs stop."""
        rows, still = self.memories.rows(), []
        for run, tally in zip(self.active, found, strict=True):
            if not math.isfinite(tally.nll):
                raise TrainingError(
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
