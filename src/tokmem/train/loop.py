"""One `fit` for all tracks: it moves what its objective trains, and nothing else."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from tokmem.data.stream import MicroBatch, Order, Stream, optimizer_steps
from tokmem.errors import ConfigError, TrainingError
from tokmem.log import Metrics, logger, postfix, progress
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.checkpoint import RunState, run_identity
from tokmem.train.loss import LossSum
from tokmem.train.objective import BankObjective, Objective, Piece
from tokmem.train.optim import Schedule, build_adamw, rate, set_rate

# Settings that change how long a run takes and never what comes out of it: a resumed run may have others.
_NO_MATTER = ("checkpoint_every", "prefix_cache_mb")


@dataclass(frozen=True)
class FitSettings:
    """How to train; the defaults are the paper's. See `PRESETS` for the published scripts' own.

    Attributes:
        lr: AdamW's rate.
        weight_decay: AdamW's decay.
        epochs: passes over the examples.
        batch_size: examples in a micro-batch.
        accumulation: micro-batches in an optimizer step.
        warmup: share of the steps in which the rate rises.
        schedule: what follows: linear to zero, or constant.
        shuffle: whether to shuffle the examples.
        validate_every: optimizer steps between validations; 0 validates at each epoch's end.
        patience: validations without a better one after which to stop; 0 never stops early.
        frozen_prefix: read queries once and without a graph (exact, and much faster).
        window: examples whose prefixes are read together.
        prefix_cache_mb: how much memory may hold prefixes for later epochs.
        checkpoint_every: optimizer steps between checkpoints, where a checkpoint folder is given.
        seed: of the order.
    """

    lr: float = 5e-3
    weight_decay: float = 0.0
    epochs: int = 1
    batch_size: int = 4
    accumulation: int = 1
    warmup: float = 0.1
    schedule: Schedule = "linear"
    shuffle: bool = True
    validate_every: int = 0
    patience: int = 0
    frozen_prefix: bool = True
    window: int = 64
    prefix_cache_mb: int = 1024
    checkpoint_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("lr", 0), ("epochs", 1), ("batch_size", 1), ("accumulation", 1), ("window", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} {getattr(self, name)}", f"at least {least}")
        if not 0 <= self.warmup <= 1:
            raise ConfigError(f"warmup {self.warmup}", "a share of the steps, 0 to 1")
        if self.schedule not in get_args(Schedule):
            raise ConfigError(f"schedule {self.schedule!r}", f"one of {', '.join(get_args(Schedule))}")

    def stream(self, count: int) -> Stream:
        """The order of `count` examples."""
        return Stream(count, self.batch_size, self.window, self.shuffle, self.seed)


PRESETS: dict[str, dict[str, Any]] = {"paper": {}, "scripts": {"lr": 1e-3, "weight_decay": 0.01}}


@dataclass(frozen=True)
class FitReport:
    """What a training run did.

    Attributes:
        steps: optimizer steps.
        loss: mean loss of the last step, per supervised token.
        best_loss: lowest validation loss, None without validation.
        best_step: the step whose parameters were kept.
        supervised_tokens, prompt_tokens: seen in all epochs.
        seconds: wall time, prefixes and validation included.
        prefix_hits, prefix_misses: windows found in the cache, and read.
    """

    steps: int
    loss: float
    best_loss: float | None
    best_step: int
    supervised_tokens: int
    prompt_tokens: int
    seconds: float
    prefix_hits: int
    prefix_misses: int


def fit(
    lm: MemoryLM | Objective,
    examples: Sequence[Encoded],
    settings: FitSettings,
    *,
    validation: Sequence[Encoded] = (),
    order: Order | None = None,
    checkpoint: Path | None = None,
    metrics: Metrics | None = None,
) -> FitReport:
    """Trains on `examples`: the fresh rows of `lm.bank` (Eq. 3), or what another objective trains.

    Args:
        lm: the frozen backbone and its bank, or an objective.
        examples: encoded training examples.
        settings: how to train.
        validation: encoded examples; where given, the parameters with the lowest loss on them are kept in the
            end.
        order: which examples come when, instead of `settings.stream`.
        checkpoint: folder to resume from and to save to; it is left in place when training ends.
        metrics: receives a line per optimizer step.

    Raises:
        TrainingError: there is nothing to train, the loss is not finite, or the checkpoint is of another run.
    """
    if isinstance(lm, MemoryLM):
        budget = settings.prefix_cache_mb << 20
        lm = BankObjective(lm, frozen_prefix=settings.frozen_prefix, cache_bytes=budget)
    return _Run(lm, examples, settings, validation, order, checkpoint, metrics).go()


class _Run:
    """The state of one call of `fit`."""

    def __init__(
        self,
        objective: Objective,
        examples: Sequence[Encoded],
        settings: FitSettings,
        validation: Sequence[Encoded],
        order: Order | None,
        checkpoint: Path | None,
        metrics: Metrics | None,
    ) -> None:
        objective.begin(examples, validation)
        self.objective, self.examples, self.settings = objective, examples, settings
        self.validation, self.checkpoint, self.metrics = validation, checkpoint, metrics
        parameters = objective.parameters
        optimizer = build_adamw(objective.groups, settings.lr, settings.weight_decay)
        self.state = RunState(parameters, optimizer)
        self.order: Order = order or settings.stream(len(examples))
        self.windows = self.order.windows()
        # Epochs need not be equally long: the step after each one's last.
        self.ends = list(accumulate(len(self._steps(epoch)) for epoch in range(settings.epochs)))
        self.steps = self.ends[-1]
        self._epoch, self._batches = -1, list[list[MicroBatch]]()

    def go(self) -> FitReport:
        """Runs to the end, or on from the checkpoint."""
        identity = ""
        if self.checkpoint is not None:
            identity = self._identity()
            if self.state.resume(self.checkpoint, identity):
                logger.info("resuming at step %d of %d", self.state.progress.step, self.steps)
        done, started = self.state.progress, time.monotonic() - self.state.progress.seconds
        if self.metrics is not None:
            self.metrics.truncate(done.step)
        with progress(self.steps, "training", unit="step", initial=done.step) as bar:
            while done.step < self.steps and not self._stopped():
                self._step(bar)
                done.seconds = time.monotonic() - started
                if self.validation and self._validation_due():
                    self._validate()
                last = done.step == self.steps or self._stopped()
                if self.checkpoint is not None and (last or done.step % self.settings.checkpoint_every == 0):
                    self.state.save(self.checkpoint, identity)
        self.state.restore_best()
        done.seconds = time.monotonic() - started
        return self._report()

    def _identity(self) -> str:
        facts = {k: v for k, v in asdict(self.settings).items() if k not in _NO_MATTER}
        facts["train"] = len(self.examples)
        if not isinstance(self.order, Stream):  # whose order follows from the settings
            facts["order"] = repr(self.order)
        own, tensors = self.objective.identity()
        return run_identity(facts | dict(own), [*self.examples, *self.validation], tensors)

    def _stopped(self) -> bool:
        return 0 < self.settings.patience <= self.state.progress.stale

    def _validation_due(self) -> bool:
        step, every = self.state.progress.step, self.settings.validate_every
        return step == self.steps or (step % every == 0 if every else step in self.ends)

    def _steps(self, epoch: int) -> list[list[MicroBatch]]:
        return optimizer_steps(self.order, epoch, self.settings.accumulation)

    def _micro_batches(self, step: int) -> list[MicroBatch]:
        """Those of an optimizer step."""
        epoch = bisect_right(self.ends, step)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._steps(epoch)
        return self._batches[step - self.ends[epoch]]  # counted from the epoch's end

    def _step(self, bar: tqdm[Any]) -> None:
        """One optimizer step; the loss is a mean over the supervised tokens of all its micro-batches."""
        done, settings = self.state.progress, self.settings
        micro = self._micro_batches(done.step)
        chosen = [self.examples[i] for batch in micro for i in batch.indices]
        count = sum(sum(example.supervised) for example in chosen)
        lr = rate(done.step, self.steps, settings.lr, settings.warmup, settings.schedule)
        set_rate(self.state.optimizer, lr)
        self.state.optimizer.zero_grad(set_to_none=True)
        sums = []
        for number, batch in enumerate(micro):
            loss = self.objective.loss(self._piece(batch, (done.step, number)))
            (loss.total / count).backward()
            sums.append(loss)
        done.loss = self._finite(sums, count, "loss")
        self.state.optimizer.step()
        self.objective.after_step()
        done.step += 1
        done.supervised += count
        # Without a memory token the prefix is the whole sequence.
        done.prompt += sum(min(e.prefix, len(e.ids) - sum(e.supervised)) for e in chosen)
        self._show(bar, sums, lr)

    def _piece(self, batch: MicroBatch, draw: tuple[int, int]) -> Piece:
        window = batch.indices if batch.window is None else self.windows[batch.window]
        places = {index: place for place, index in enumerate(window)}
        return Piece(
            examples=[self.examples[i] for i in batch.indices],
            window=[self.examples[i] for i in window],
            places=[places[i] for i in batch.indices],
            key=("train", batch.indices if batch.window is None else batch.window),
            draw=draw,
        )

    def _finite(self, sums: Sequence[LossSum], count: int, what: str) -> float:
        """The mean loss."""
        loss = sum(float(s.total.detach()) for s in sums) / count
        if not math.isfinite(loss):
            raise TrainingError(
                f"{what} {loss} at step {self.state.progress.step}",
                "a finite loss",
                "lower the rate, or load the backbone in float32; the last checkpoint is intact",
            )
        return loss

    def _show(self, bar: tqdm[Any], sums: Sequence[LossSum], lr: float) -> None:
        values: dict[str, Any] = {"loss": self.state.progress.loss}
        if memories := sum(int(s.memory_count) for s in sums):
            values["memory_loss"] = sum(float(s.memory) for s in sums) / memories
        values["lr"] = lr
        done = self.state.progress
        speed = (done.supervised + done.prompt) / max(done.seconds, 1e-9)
        bar.update()
        postfix(bar, **values, tokens_per_second=round(speed))
        if self.metrics is not None:
            self.metrics.write(done.step, values)

    @torch.no_grad()
    def _validate(self) -> None:
        done, settings = self.state.progress, self.settings
        sums = list(self.objective.validation(self.validation, settings.batch_size, settings.window))
        loss_now = self._finite(sums, sum(loss.count for loss in sums), "validation loss")
        if done.best_loss is None or loss_now < done.best_loss:
            done.best_loss, done.best_step, done.stale = loss_now, done.step, 0
            self.state.keep_best()
        else:
            done.stale += 1
        logger.info("step %d: validation loss %.4f (best %.4f)", done.step, loss_now, done.best_loss)
        if self.metrics is not None:
            self.metrics.write(done.step, {"validation_loss": loss_now})

    def _report(self) -> FitReport:
        done = self.state.progress
        return FitReport(
            steps=done.step,
            loss=math.nan if done.loss is None else done.loss,
            best_loss=done.best_loss,
            best_step=done.best_step if done.best_loss is not None else done.step,
            supervised_tokens=done.supervised,
            prompt_tokens=done.prompt,
            seconds=done.seconds,
            prefix_hits=self.objective.hits,
            prefix_misses=self.objective.misses,
        )
