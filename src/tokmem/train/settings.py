"""How to train, and what a training run did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokmem.config import Config, check_least
from tokmem.data.stream import Stream
from tokmem.train.optim import Schedule, check_schedule

# Settings that change how long a run takes and never what comes out of it: a resumed run may have others.
NO_MATTER = ("checkpoint_every", "prefix_cache_mb", "prefix_disk_mb", "prefix_cache_dir")


@dataclass(frozen=True)
class FitSettings(Config):
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
        share_prefixes: read once what prompts have in common, such as a task's instruction (exact).
        packed_rows: put sequences side by side instead of padding them, where the backbone allows it. Sharing
            needs it.
        prefix_cache_mb: how much memory may hold prefixes for later epochs.
        prefix_disk_mb: how much of a disk may hold prefixes for later runs; 0 writes nothing.
        prefix_cache_dir: where; empty takes tokmem/prefixes in the user's cache folder. What is written there
            tells of the queries.
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
    share_prefixes: bool = True
    packed_rows: bool = True
    prefix_cache_mb: int = 1024
    prefix_disk_mb: int = 0
    prefix_cache_dir: str = ""
    checkpoint_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulation", "window", "checkpoint_every")
        others = ("lr", "weight_decay", "validate_every", "patience", "prefix_cache_mb", "prefix_disk_mb")
        check_least(vars(self), dict.fromkeys(counts, 1) | dict.fromkeys(others, 0))
        check_schedule(self.warmup, self.schedule)

    @property
    def prefixes(self) -> dict[str, Any]:
        """What `BankObjective` takes of these settings."""
        return {
            "frozen_prefix": self.frozen_prefix,
            "share": self.share_prefixes,
            "cache_bytes": self.prefix_cache_mb << 20,
            "disk_bytes": self.prefix_disk_mb << 20,
            "disk_folder": Path(self.prefix_cache_dir) if self.prefix_cache_dir else None,
        }

    @property
    def facts(self) -> dict[str, Any]:
        """The settings as a saved bank names them: no path of a machine among them."""
        facts = asdict(self)
        del facts["prefix_cache_dir"]
        return facts

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
        examples: trained on, counted once an epoch, by all processes.
        supervised_tokens, prompt_tokens: of these.
        seconds: wall time, prefixes and validation included.
        prefix_hits, prefix_misses: windows found in the cache, and read; by this process since it began.
        prefix_disk_hits: the windows among those found that were on disk.
        read_tokens: prompt tokens that ran through the backbone for them, each shared one once.
        prefix_bytes: most bytes of prefixes held in memory.
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
