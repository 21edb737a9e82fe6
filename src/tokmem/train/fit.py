"""The training loop: `fit` lowers the loss of any objective."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tokmem.data.stream import MicroBatch, Order, optimizer_steps, returning, seen
from tokmem.errors import DivergedError, TrainingError
from tokmem.log import Callbacks, logger, postfix, progress, tell_failure
from tokmem.records import Encoded
from tokmem.train.checkpoint import RunState, run_identity
from tokmem.train.heap import EVERY, give_back
from tokmem.train.loss import LossSum
from tokmem.train.objective import Objective, Piece, supervised_tokens
from tokmem.train.optim import build_adamw, rate, set_rate
from tokmem.train.parallel import Shares, join_processes
from tokmem.train.prefix_cache import Usage
from tokmem.train.settings import NO_MATTER, FitReport, FitSettings
from tokmem.train.speed import SpeedMeter, shown
from tokmem.train.trackers import trackers

LOWER = "lower the rate, or load the backbone in float32; the last checkpoint is intact"


def fit(
    objective: Objective,
    examples: Sequence[Encoded],
    settings: FitSettings,
    *,
    validation: Sequence[Encoded] = (),
    order: Order | None = None,
    checkpoint: Path | None = None,
    callbacks: Callbacks = (),
) -> FitReport:
    """Trains the parameters of an objective on examples; nothing else changes.

    Args:
        objective: the loss and its parameters, such as `BankObjective`.
        examples: encoded training examples.
        settings: how to train.
        validation: held-out encoded examples. If there are any, the run ends with the parameters that had the
            lowest loss on them.
        order: the order of the examples; None takes `settings.stream`.
        checkpoint: folder to resume from and to save to; it stays when training ends. If training fails after
            a save, the parameters get their starting values back, so that the same call resumes.
        callbacks: told of each optimizer step and validation, in the first process alone. The value `speed`
            of a step (see `tokmem.train.speed`) depends on the machine; a resumed run gives all other values
            again bit for bit.

    Raises:
        DivergedError: the loss or a parameter is not finite.
        TrainingError: there is nothing to train, an example has no targets, or the checkpoint belongs to
            another run.
    """
    if settings.patience and not validation:
        logger.warning("patience %d does nothing: there are no validation examples", settings.patience)
    with reading(objective, settings):
        return Run(objective, examples, settings, validation, order, checkpoint, callbacks).go()


def reading(objective: Objective, settings: FitSettings) -> AbstractContextManager[Any]:
    """Within it, sequences are read as the settings say: side by side, or padded."""
    lm = objective.lm
    return nullcontext() if settings.packed_rows or lm is None else lm.padded()


def _check_targets(examples: Sequence[Encoded]) -> None:
    """Refuses an example without targets: a step of such examples has no mean loss."""
    empty = next((example for example in examples if not any(example.supervised)), None)
    if empty is not None:
        raise TrainingError(
            f"example {empty.id!r} without a token to learn", "at least one", "leave the example out"
        )


class Run:
    """The state of one call of `fit`, whose arguments it takes."""

    def __init__(
        self,
        objective: Objective,
        examples: Sequence[Encoded],
        settings: FitSettings,
        validation: Sequence[Encoded] = (),
        order: Order | None = None,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> None:
        objective.begin(examples, validation)
        _check_targets([*examples, *validation])
        self.objective, self.examples, self.settings = objective, examples, settings
        self.processes = join_processes()
        self.validation, self.checkpoint = validation, checkpoint
        self.callbacks = (*callbacks, *trackers(settings)) if self.processes.first else ()
        parameters = objective.parameters
        optimizer = build_adamw(objective.groups, settings.lr, settings.weight_decay)
        self.state = RunState(parameters, optimizer)
        self.given_order = order
        self.order: Order = order or settings.stream(len(examples))
        self.windows = self.order.windows()
        self.settings = settings = settings.lasting(len(self._steps(0)))
        # For each epoch the number of steps up to its end; epochs may differ in length.
        self.ends = list(accumulate(len(self._steps(epoch)) for epoch in range(settings.epochs)))
        self.steps = self.ends[-1]
        self._epoch, self._batches, self._returning = -1, list[list[MicroBatch]](), set[int]()
        self.shares = Shares(self.processes, self.order)
        self.processes.copy_first(parameters)
        self.meter = SpeedMeter()

    def go(self) -> FitReport:
        """Trains until the last step. It starts at the checkpoint if there is one.

        If it fails and there is a checkpoint, the parameters get their starting values back.
        """
        with self.state.starting_over(self.checkpoint):
            try:
                return self._go()
            except BaseException:
                tell_failure(self.callbacks, self.state.progress.step)
                raise

    def _go(self) -> FitReport:
        identity = ""
        if self.checkpoint is not None:
            identity = self._identity()
            with self.processes.in_turn():
                resumed = self.state.resume(self.checkpoint, identity)
            if resumed:
                logger.info("resuming at step %d of %d", self.state.progress.step, self.steps)
        done, started = self.state.progress, time.monotonic() - self.state.progress.seconds
        self.meter = SpeedMeter(done.supervised)
        for callback in self.callbacks:
            callback.on_begin(done.step, self.steps)
        with progress(self.steps, "training", unit="step", initial=done.step) as bar:
            while done.step < self.steps and not self._stopped():
                self._step(bar)
                done.seconds = time.monotonic() - started
                if self.validation and self._validation_due():
                    self._validate()
                last = done.step == self.steps or self._stopped()
                if last or done.step % self.settings.checkpoint_every == 0:
                    self._save(identity)
        self.state.restore_best()
        for callback in self.callbacks:
            callback.on_end(done.step)
        done.seconds = time.monotonic() - started
        logger.info(
            "trained: %s", ", ".join(f"{name} {value}" for name, value in shown(self._speed()).items())
        )
        return self._report()

    def _save(self, identity: str) -> None:
        """Writes a checkpoint, if there is a folder; refuses rows that a run could not go on with."""
        self._check_parameters()
        if self.checkpoint is not None and self.processes.first:
            self.state.save(self.checkpoint, identity)
        self.processes.wait()

    def _identity(self) -> str:
        facts = {k: v for k, v in asdict(self.settings).items() if k not in NO_MATTER}
        facts["train"] = len(self.examples)
        if self.given_order is not None:  # else the order follows from the settings
            facts["order"] = repr(self.given_order)
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
        """The micro-batches of an optimizer step."""
        epoch = bisect_right(self.ends, step)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._steps(epoch)
            self._returning = returning(chain(*self._batches))
        return self._batches[step - self.ends[epoch]]  # counted from the epoch's end

    def _step(self, bar: tqdm[Any]) -> None:
        """Takes one optimizer step; its loss is a mean over all micro-batches."""
        done, settings = self.state.progress, self.settings
        micro = self._micro_batches(done.step)
        chosen = [self.examples[i] for batch in micro for i in batch.indices]
        weight = self.objective.weight(chosen)
        lr = rate(done.step, self.steps, settings.lr, settings.warmup, settings.schedule)
        set_rate(self.state.optimizer, lr)
        self.state.optimizer.zero_grad(set_to_none=True)
        sums = []
        for loss in self._losses(micro):
            (loss.total / weight).backward()
            sums.append(loss)
        self.processes.add_gradients(self.state.parameters)
        total, memory, memories = self._totals(sums)
        done.loss = self._finite(total / weight, "loss")
        done.first_loss = done.loss if done.first_loss is None else done.first_loss
        self.state.optimizer.step()
        self.objective.after_step()
        done.step += 1
        if done.step % EVERY == 0:
            give_back()
        done.supervised += supervised_tokens(chosen)
        # An example without a memory token has its whole sequence as prefix.
        done.prompt += sum(min(e.prefix, len(e.ids) - sum(e.supervised)) for e in chosen)
        self._show(bar, {"memory_loss": memory / memories} if memories else {}, lr)

    def timed_step(self) -> float:
        """Seconds of the first step's losses and gradients; the parameters stay as they are."""
        started = time.monotonic()
        for loss in self._losses(self._micro_batches(0)):
            loss.total.backward()
            loss.total.item()  # waits for the device
        self.state.optimizer.zero_grad(set_to_none=True)
        return time.monotonic() - started

    def _losses(self, micro: Sequence[MicroBatch]) -> Iterator[LossSum]:
        """The summed losses of this process's examples, with graph."""
        step = self.state.progress.step
        pieces = [self._piece(batch, (step, number)) for number, batch in enumerate(micro)]
        return self.objective.losses([piece for piece in pieces if piece.examples])

    def _piece(self, batch: MicroBatch, draw: tuple[int, int]) -> Piece:
        window = self.shares.own(batch.indices if batch.window is None else self.windows[batch.window])
        indices = self.shares.own(batch.indices)
        places = {index: place for place, index in enumerate(window)}
        return Piece(
            examples=[self.examples[i] for i in indices],
            window=[self.examples[i] for i in window],
            places=[places[i] for i in indices],
            key=("train", batch.indices if batch.window is None else batch.window),
            draw=draw,
            again=self._epoch + 1 < self.settings.epochs or batch.window in self._returning,
            turns=[turn for turn, i in enumerate(batch.indices) if i in places],
        )

    def _totals(self, sums: Sequence[LossSum]) -> tuple[float, float, int]:
        """The summed loss, its part at memory positions, and the number of these; over all processes."""
        # One transfer, so that the host waits for the device once in a step.
        parts = [torch.stack([loss.total.detach(), loss.memory, loss.memory_count]) for loss in sums]
        columns = zip(*torch.stack(parts).tolist(), strict=True) if parts else [()] * 3
        totals = self.processes.totals([sum(column) for column in columns])
        return totals[0], totals[1], int(totals[2])

    def _finite(self, loss: float, what: str) -> float:
        if not math.isfinite(loss):
            raise DivergedError(
                f"{what} {loss} at step {self.state.progress.step}",
                "a finite loss",
                LOWER,
            )
        return loss

    def _check_parameters(self) -> None:
        """Refuses parameters that are not finite: a gradient may be so where the loss is not."""
        if not all(bool(p.isfinite().all()) for p in self.state.parameters):
            raise DivergedError(
                f"parameters that are not finite at step {self.state.progress.step}", "finite ones", LOWER
            )

    def _show(self, bar: tqdm[Any], memory: dict[str, float], lr: float) -> None:
        values = {"loss": self.state.progress.loss, **memory, "lr": lr}
        bar.update()
        speed = self._speed()
        best = {} if self.state.progress.best_loss is None else {"best": self.state.progress.best_loss}
        postfix(bar, loss=self.state.progress.loss, **best)
        for callback in self.callbacks:
            callback.on_step(self.state.progress.step, {**values, "speed": speed})

    def _speed(self) -> dict[str, int]:
        return self.meter.read(self.state.progress.supervised, self.objective.usage)

    @torch.no_grad()
    def _validate(self) -> None:
        done, settings = self.state.progress, self.settings
        held = [e for i, e in enumerate(self.validation) if self.processes.own(i)]
        sums = list(self.objective.validation(held, settings.batch_size, settings.window))
        weight = self.objective.weight(self.validation)
        loss_now = self._finite(self._totals(sums)[0] / weight, "validation loss")
        if done.best_loss is None or loss_now < done.best_loss:
            done.best_loss, done.best_step, done.stale = loss_now, done.step, 0
            self.state.keep_best()
        else:
            done.stale += 1
        logger.info("step %d: validation loss %.4f (best %.4f)", done.step, loss_now, done.best_loss)
        for callback in self.callbacks:
            callback.on_validation(done.step, loss_now)

    def _report(self) -> FitReport:
        done, usage = self.state.progress, self.objective.usage or Usage()
        return FitReport(
            steps=done.step,
            loss=math.nan if done.loss is None else done.loss,
            best_loss=done.best_loss,
            best_step=done.best_step if done.best_loss is not None else done.step,
            examples=sum(1 for _ in seen(self.order, done.step, self.settings.accumulation)),
            supervised_tokens=done.supervised,
            prompt_tokens=done.prompt,
            seconds=done.seconds,
            prefix_hits=usage.hits,
            prefix_misses=usage.misses,
            prefix_disk_hits=usage.disk_hits,
            read_tokens=usage.read_tokens,
            prefix_bytes=usage.peak_bytes,
            first_loss=done.first_loss,
        )
