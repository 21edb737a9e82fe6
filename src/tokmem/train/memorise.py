"""Many independent runs of memorisation side by side, as separate slots of one bank in one batch.

A run is a procedure's memory tokens and the sequences that they are to hold. Its loss is the mean over its
own tokens, nothing of one run stands in a sequence of another, and AdamW moves each number by its own
gradient alone: trained together each gets what it would get alone. Memory tokens are read, never predicted.

Letters: R runs, K memory tokens a run, N supervised positions, d hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from tokmem.config import check_least
from tokmem.errors import TrainingError
from tokmem.eval.perplexity import TokenTally
from tokmem.log import postfix, progress
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.loss import MAX_LOGITS, token_losses
from tokmem.train.optim import Group, Schedule, build_adamw, check_schedule, rate, set_rate
from tokmem.train.prefix import Prefix, read_prefixes
from tokmem.train.step import frozen_prefix_states, plain_states


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
        start: (K, d) starting rows.
        rows: (K, d) the best rows.
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


def memorise(
    lm: MemoryLM,
    runs: Sequence[Sequence[Encoded]],
    settings: MemoriseSettings,
    *,
    frozen_prefix: bool,
    dimension: int | None = None,
    desc: str = "memorising",
) -> list[RunRecord]:
    """Trains every run's memory tokens to hold its sequences; the bank ends with the best rows of each.

    Args:
        lm: a backbone that only reads the memory tokens of its bank (`writes=False`): a procedure a run, in
            their order, all of one width.
        runs: R runs' sequences, each with the memory tokens of its own procedure.
        settings: how to train.
        frozen_prefix: read what stands before the memory tokens once and without a graph. Exact; there must
            be something there, and it may hold no target.
        dimension: only so many leading coordinates of each embedding train; None: all.
        desc: shown beside the progress bar.

    Returns:
        R records.

    Raises:
        TrainingError: runs and procedures do not match, a sequence cannot be read in this way, or the loss is
            not finite.
    """
    return _SideBySide(lm, runs, settings, frozen_prefix, dimension).go(desc)


def tallies(lm: MemoryLM, examples: Sequence[Encoded], batch_size: int = 64) -> list[TokenTally]:
    """How well the supervised tokens of each example are predicted, as the bank stands now."""
    out = []
    with torch.no_grad():
        for i in range(0, len(examples), batch_size):
            part = examples[i : i + batch_size]
            hidden, targets = plain_states(lm, part)
            losses = token_losses(lm.head, hidden, targets)
            out += _tallies(losses, _correct(lm, hidden, targets), [sum(e.supervised) for e in part])
    return out


class _Forward(NamedTuple):
    """A micro-batch of B examples.

    Attributes:
        places: of each example the place of its run among the active ones.
        counts: supervised tokens of each example, in whose order the N positions stand.
        losses: (N,) with graph.
        hidden: (N, d) states.
        targets: (N,) tokens.
    """

    places: list[int]
    counts: list[int]
    losses: Tensor
    hidden: Tensor
    targets: Tensor


class _SideBySide:
    """The state of one call of `memorise`."""

    def __init__(
        self,
        lm: MemoryLM,
        runs: Sequence[Sequence[Encoded]],
        settings: MemoriseSettings,
        frozen_prefix: bool,
        dimension: int | None,
    ) -> None:
        self.lm, self.runs, self.settings = lm, runs, settings
        self.table, self.dimension = lm.read.steering, dimension
        _check(lm, runs, frozen_prefix, dimension)
        prefixes: list[list[Prefix]] = [[] for _ in runs]
        if frozen_prefix and not is_recurrent(lm.model):
            prefixes = [read_prefixes(lm, [e.ids[: e.prefix] for e in run]) for run in runs]
        self.prefixes = prefixes
        self.optimizer = build_adamw([Group([self.table.fresh])], settings.lr, 0.0)
        self.active = list(range(len(runs)))
        self.records = [RunRecord(rows, rows) for rows in self._rows()]
        self.stale = [0] * len(runs)

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
        with torch.no_grad():
            self.table.fresh.copy_(torch.cat([record.rows for record in self.records]))
        return self.records

    def _rows(self) -> list[Tensor]:
        """(K, d) of each run, copies."""
        rows = self.table.fresh.detach()
        return list(rows.reshape(len(self.runs), -1, rows.shape[-1]).clone().unbind())

    def _pass(self, *, check: bool) -> list[TokenTally]:
        """Forward, and backward where gradients are on; tallies of the active runs, where asked for."""
        self.optimizer.zero_grad(set_to_none=True)
        totals = [TokenTally() for _ in self.active]
        for part in self._forwards():
            if part.losses.requires_grad:
                shares = torch.tensor([1.0 / self._tokens(self.active[place]) for place in part.places])
                weights = shares.repeat_interleave(torch.tensor(part.counts)).to(part.losses.device)
                (part.losses * weights).sum().backward()
            if check:
                correct = _correct(self.lm, part.hidden.detach(), part.targets)
                for place, tally in zip(
                    part.places, _tallies(part.losses, correct, part.counts), strict=True
                ):
                    totals[place] = totals[place] + tally
        return totals

    def _forwards(self) -> Iterator[_Forward]:
        """The sequences of the active runs, a micro-batch at a time."""
        items = [(p, i) for p, run in enumerate(self.active) for i in range(len(self.runs[run]))]
        for start in range(0, len(items), self.settings.batch_size):
            part = items[start : start + self.settings.batch_size]
            examples = [self.runs[self.active[p]][i] for p, i in part]
            prefixes = [self.prefixes[self.active[p]][i] for p, i in part if self.prefixes[self.active[p]]]
            hidden, targets = (
                frozen_prefix_states(self.lm, examples, prefixes)
                if prefixes
                else plain_states(self.lm, examples)
            )
            losses = token_losses(self.lm.head, hidden, targets)
            counts = [sum(e.supervised) for e in examples]
            yield _Forward([p for p, _ in part], counts, losses, hidden, targets)

    def _tokens(self, run: int) -> int:
        return sum(sum(example.supervised) for example in self.runs[run])

    def _step(self, step: int) -> None:
        settings = self.settings
        lr = rate(step, settings.steps, settings.lr, settings.warmup, settings.schedule)
        set_rate(self.optimizer, lr)
        gradient = self.table.fresh.grad
        if gradient is not None and self.dimension is not None:
            gradient[:, self.dimension :] = 0  # from the first step on, so that there is no momentum either
        self.optimizer.step()

    def _check(self, step: int, found: Sequence[TokenTally]) -> None:
        """Keeps what is better, and lets runs stop."""
        rows, still = self._rows(), []
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


def _check(
    lm: MemoryLM, runs: Sequence[Sequence[Encoded]], frozen_prefix: bool, dimension: int | None
) -> None:
    bank = lm.read
    widths = {len(ids) for ids in bank.memory.values()}
    if not runs or len(bank.fresh_names) != len(bank) or len(bank) != len(runs) or len(widths) != 1:
        raise TrainingError(
            f"{len(runs)} runs, {len(bank)} procedures ({len(bank.fresh_names)} trainable), "
            f"widths {sorted(widths)}",
            "a trainable procedure for each run, all of one width",
        )
    if dimension is not None and not 1 <= dimension <= bank.dim:
        raise TrainingError(f"dimension {dimension}", f"1 to the backbone's {bank.dim}", "correct it")
    for run, memory in zip(runs, bank.memory.values(), strict=True):
        for example in run:
            own = example.ids[example.prefix : example.prefix + len(memory)] == memory
            if not own or (
                frozen_prefix and (not example.prefix or any(example.supervised[: example.prefix]))
            ):
                raise TrainingError(
                    f"sequence {example.id!r} with {example.prefix} tokens before its memory tokens",
                    "the run's own memory tokens"
                    + (" behind a query without targets" if frozen_prefix else ""),
                )


def _correct(lm: MemoryLM, hidden: Tensor, targets: Tensor) -> Tensor:
    """(N,) whether each target is the model's first choice."""
    size = max(1, MAX_LOGITS // lm.head.model_rows)
    with torch.no_grad():
        picks = [lm.head.native(part).argmax(-1) for part in hidden.split(size)]
    return torch.cat(picks) == targets


def _tallies(losses: Tensor, correct: Tensor, counts: Sequence[int]) -> list[TokenTally]:
    """Of each example, whose `counts` supervised tokens stand one after the other."""
    parts = zip(losses.detach().split(list(counts)), correct.split(list(counts)), strict=True)
    return [
        TokenTally(float(nll.double().sum()), int(right.sum()), n)
        for (nll, right), n in zip(parts, counts, strict=True)
    ]
