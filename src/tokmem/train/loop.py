"""One `fit` for all tracks: it moves a bank's fresh rows and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from tokmem.data.stream import MicroBatch, Stream
from tokmem.errors import ConfigError, TrainingError
from tokmem.log import Metrics, logger, postfix, progress
from tokmem.model.backbone import fingerprint, is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.checkpoint import RunState, run_identity
from tokmem.train.loss import LossSum
from tokmem.train.optim import Schedule, build_adamw, rate
from tokmem.train.prefix import PrefixCache
from tokmem.train.step import frozen_prefix_loss, plain_loss

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


PRESETS: dict[str, dict[str, Any]] = {"paper": {}, "scripts": {"lr": 1e-3, "weight_decay": 0.01}}


@dataclass(frozen=True)
class FitReport:
    """What a training run did.

    Attributes:
        steps: optimizer steps.
        loss: mean loss of the last step, per supervised token.
        best_loss: lowest validation loss, None without validation.
        best_step: the step whose rows were kept.
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
    lm: MemoryLM,
    examples: Sequence[Encoded],
    settings: FitSettings,
    *,
    validation: Sequence[Encoded] = (),
    checkpoint: Path | None = None,
    metrics: Metrics | None = None,
) -> FitReport:
    """Trains the fresh rows of `lm.bank` on `examples` (Eq. 3).

    Args:
        lm: the frozen backbone and its bank.
        examples: encoded training examples.
        settings: how to train.
        validation: encoded examples; where given, the rows with the lowest loss on them are kept in the end.
        checkpoint: folder to resume from and to save to; it is left in place when training ends.
        metrics: receives a line per optimizer step.

    Raises:
        TrainingError: there is nothing to train, the loss is not finite, or the checkpoint is of another run.
    """
    return _Run(lm, examples, settings, validation, checkpoint, metrics).go()


class _Run:
    """The state of one call of `fit`."""

    def __init__(
        self,
        lm: MemoryLM,
        examples: Sequence[Encoded],
        settings: FitSettings,
        validation: Sequence[Encoded],
        checkpoint: Path | None,
        metrics: Metrics | None,
    ) -> None:
        if not examples or not lm.bank.fresh_names:
            raise TrainingError(
                f"{len(examples)} examples and {len(lm.bank.fresh_names)} trainable procedures",
                "at least one of each",
                "add procedures to the bank before training (rows of earlier stages stay frozen)",
            )
        early = next((e for e in (*examples, *validation) if any(e.supervised[: e.prefix])), None)
        if early is not None and settings.frozen_prefix:
            raise TrainingError(
                f"example {early.id!r} has targets before its first memory token",
                "targets in memory tokens and responses only",
                "set frozen_prefix=False: such a loss needs the plain path",
            )
        self.lm, self.examples, self.settings, self.validation = lm, examples, settings, validation
        self.checkpoint, self.metrics = checkpoint, metrics
        self.frozen_prefix = settings.frozen_prefix and not is_recurrent(lm.model)
        if settings.frozen_prefix and not self.frozen_prefix:
            logger.warning(
                "%s keeps a recurrent state: training takes the plain path", type(lm.model).__name__
            )
        parameters = [table.fresh for table in lm.bank.tables]
        self.state = RunState(parameters, build_adamw(parameters, settings.lr, settings.weight_decay))
        self.cache = PrefixCache(lm, settings.prefix_cache_mb << 20)
        self.stream = Stream(
            len(examples), settings.batch_size, settings.window, settings.shuffle, settings.seed
        )
        self.windows = self.stream.windows()
        per_epoch = len(self._steps(0))
        self.validate_every = settings.validate_every or per_epoch
        self.steps = per_epoch * settings.epochs

    def go(self) -> FitReport:
        """Runs to the end, or on from the checkpoint."""
        identity = ""
        if self.checkpoint is not None:
            rows = [part for table in self.lm.bank.tables for part in (table.frozen, table.fresh)]
            facts = {k: v for k, v in asdict(self.settings).items() if k not in _NO_MATTER}
            facts |= {"backbone": fingerprint(self.lm.model), "train": len(self.examples)}
            identity = run_identity(facts, [*self.examples, *self.validation], rows)
            if self.state.resume(self.checkpoint, identity):
                logger.info("resuming at step %d of %d", self.state.progress.step, self.steps)
        done, started = self.state.progress, time.monotonic() - self.state.progress.seconds
        if self.metrics is not None:
            self.metrics.truncate(done.step)
        with progress(self.steps, "training", unit="step", initial=done.step) as bar:
            while done.step < self.steps and not self._stopped():
                self._step(bar)
                done.seconds = time.monotonic() - started
                if self.validation and (done.step % self.validate_every == 0 or done.step == self.steps):
                    self._validate()
                last = done.step == self.steps or self._stopped()
                if self.checkpoint is not None and (last or done.step % self.settings.checkpoint_every == 0):
                    self.state.save(self.checkpoint, identity)
        self.state.restore_best()
        done.seconds = time.monotonic() - started
        return self._report()

    def _stopped(self) -> bool:
        return 0 < self.settings.patience <= self.state.progress.stale

    def _steps(self, epoch: int) -> list[list[MicroBatch]]:
        """The micro-batches of an epoch, grouped into optimizer steps."""
        batches, size = self.stream.epoch(epoch), self.settings.accumulation
        return [batches[i : i + size] for i in range(0, len(batches), size)]

    def _step(self, bar: tqdm[Any]) -> None:
        """One optimizer step; the loss is a mean over the supervised tokens of all its micro-batches."""
        done, settings = self.state.progress, self.settings
        per_epoch = self.steps // settings.epochs
        if done.step % per_epoch == 0 or not hasattr(self, "_epoch"):
            self._epoch = self._steps(done.step // per_epoch)
        micro = self._epoch[done.step % per_epoch]
        chosen = [self.examples[i] for batch in micro for i in batch.indices]
        count = sum(sum(example.supervised) for example in chosen)
        lr = rate(done.step, self.steps, settings.lr, settings.warmup, settings.schedule)
        for group in self.state.optimizer.param_groups:
            group["lr"] = lr
        self.state.optimizer.zero_grad(set_to_none=True)
        sums = []
        for batch in micro:
            loss = self._loss(batch)
            (loss.total / count).backward()
            sums.append(loss)
        done.loss = self._finite(sums, count, "loss")
        self.state.optimizer.step()
        done.step += 1
        done.supervised += count
        done.prompt += sum(example.prefix for example in chosen)
        self._show(bar, sums, lr)

    def _loss(self, batch: MicroBatch) -> LossSum:
        chosen = [self.examples[i] for i in batch.indices]
        if not self.frozen_prefix:
            return plain_loss(self.lm, chosen)
        window = self.windows[batch.window]
        states = self.cache.window(("train", batch.window), [self.examples[i] for i in window])
        held = dict(zip(window, states, strict=True))
        return frozen_prefix_loss(self.lm, chosen, [held[i] for i in batch.indices])

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
        memory = sum(float(s.memory) for s in sums) / max(1, sum(int(s.memory_count) for s in sums))
        done = self.state.progress
        speed = (done.supervised + done.prompt) / max(done.seconds, 1e-9)
        bar.update()
        postfix(bar, loss=done.loss, memory=memory, lr=lr, tokens_per_second=round(speed))
        if self.metrics is not None:
            self.metrics.write(done.step, {"loss": done.loss, "memory_loss": memory, "lr": lr})

    @torch.no_grad()
    def _validate(self) -> None:
        done, size = self.state.progress, self.settings.batch_size
        sums = []
        for start in range(0, len(self.validation), self.settings.window):
            window = self.validation[start : start + self.settings.window]
            held = self.cache.window(("validation", start), window) if self.frozen_prefix else []
            for i in range(0, len(window), size):
                part = window[i : i + size]
                loss = (
                    frozen_prefix_loss(self.lm, part, held[i : i + size])
                    if held
                    else plain_loss(self.lm, part)
                )
                sums.append(loss)
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
            prefix_hits=self.cache.hits,
            prefix_misses=self.cache.misses,
        )
