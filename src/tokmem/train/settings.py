"""The settings of a training run, and its report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

from tokmem.config import Config, check_least
from tokmem.data.stream import Stream
from tokmem.train.optim import Schedule, check_schedule

TrackerName = Literal["tensorboard", "trackio", "wandb"]
# Settings that change the duration of a run, never its result; a resumed run may have other values.
NO_MATTER = ("checkpoint_every", "prefix_cache_mb", "prefix_disk_mb", "prefix_cache_dir", "report_to")


@dataclass(frozen=True)
class FitSettings(Config):
    """How to train. The defaults are the paper's.

    Attributes:
        lr: AdamW's rate.
        weight_decay: AdamW's decay.
        epochs: passes over the examples.
        min_steps: as many more passes as make this many optimizer steps; procedures that train side by side
            each take them.
        batch_size: examples in a micro-batch.
        accumulation: micro-batches in an optimizer step.
        warmup: share of the steps in which the rate rises.
        schedule: the rate after the warm-up: ``linear`` falls to zero, ``constant`` stays.
        shuffle: whether to shuffle the examples.
        validate_every: optimizer steps between validations; 0 validates at the end of each epoch.
        patience: stop after this many validations without a lower loss; 0 never stops early.
        frozen_prefix: read queries once and without a graph; exact, and much faster.
        window: number of examples whose prefixes are read together.
        share_prefixes: read beginnings that prompts share, such as a task's instruction, once; exact.
        packed_rows: put sequences side by side instead of padding them, if the backbone can be packed.
            `share_prefixes` needs this.
        prefix_cache_mb: most memory, in MiB, for prefixes that later epochs need.
        prefix_disk_mb: most disk space, in MiB, for prefixes that later runs need; 0 writes nothing.
        prefix_cache_dir: folder of these prefixes; empty takes tokmem/prefixes in the user's cache folder.
            The files there reveal the queries.
        checkpoint_every: optimizer steps between checkpoints, if there is a checkpoint folder.
        report_to: trackers that receive each step and validation. TensorBoard writes below runs/trackers.
        seed: of the order of the examples.
    """

    lr: float = 5e-3
    weight_decay: float = 0.0
    epochs: int = 1
    min_steps: int = 0
    batch_size: int = 4
    accumulation: int = 1
    warmup: float = 0.1
    schedule: Schedule = "linear"
    shuffle: bool = True
    validate_every: int = 0
    patience: int = 0
    frozen_prefix: bool = True
    window: int = 64
    share_prefixes: bool = True
    packed_rows: bool = True
    prefix_cache_mb: int = 1024
    prefix_disk_mb: int = 0
    prefix_cache_dir: str = ""
    checkpoint_every: int = 50
    report_to: tuple[TrackerName, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulation", "window", "checkpoint_every")
        others = (
            "lr",
            "weight_decay",
            "min_steps",
            "validate_every",
            "patience",
            "prefix_cache_mb",
            "prefix_disk_mb",
        )
        check_least(vars(self), dict.fromkeys(counts, 1) | dict.fromkeys(others, 0))
        check_schedule(self.warmup, self.schedule)

    @property
    def prefixes(self) -> dict[str, Any]:
        """The arguments of `BankObjective` that these settings give."""
        return {
            "frozen_prefix": self.frozen_prefix,
            "share": self.share_prefixes,
            "cache_bytes": self.prefix_cache_mb << 20,
            "disk_bytes": self.prefix_disk_mb << 20,
            "disk_folder": Path(self.prefix_cache_dir) if self.prefix_cache_dir else None,
        }

    @property
    def facts(self) -> dict[str, Any]:
        """The settings for the record of a saved bank, without paths of this machine."""
        facts = asdict(self)
        return {name: value for name, value in facts.items() if name not in ("prefix_cache_dir", "report_to")}

    def lasting(self, in_epoch: int) -> FitSettings:
        """The settings with as many passes as `min_steps` asks for, where one pass has `in_epoch` steps."""
        return replace(self, epochs=max(self.epochs, ceil(self.min_steps / in_epoch)))

    def stream(self, count: int) -> Stream:
        """The order in which `count` examples come."""
        return Stream(count, self.batch_size, self.window, self.shuffle, self.seed)


@dataclass(frozen=True)
class FitReport:
    """The outcome of a training run.

    Attributes:
        steps: optimizer steps.
        loss: mean loss of the last step, per supervised token.
        first_loss: likewise of the first step; None if no step was taken.
        best_loss: lowest validation loss; None without validation.
        best_step: the step whose parameters were kept.
        examples: examples of all processes; an example counts once for each epoch.
        supervised_tokens, prompt_tokens: tokens of these examples.
        seconds: wall time, with prefixes and validation.
        prefix_hits, prefix_misses: windows that this process found in its cache, and windows that it read.
        prefix_disk_hits: windows among `prefix_hits` that were found on disk.
        read_tokens: prompt tokens that ran through the backbone for them; a shared token counts once.
        prefix_bytes: most bytes of prefixes in memory at once.
    """

    steps: int
    loss: float
    best_loss: float | None
    best_step: int
    examples: int
    supervised_tokens: int
    prompt_tokens: int
    seconds: float
    prefix_hits: int
    prefix_misses: int
    prefix_disk_hits: int = 0
    read_tokens: int = 0
    prefix_bytes: int = 0
    first_loss: float | None = None
