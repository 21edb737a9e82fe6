"""Trains a tiny bank with a checkpoint at every step; a test kills and restarts this program."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.tiny import tiny_examples, tiny_lm
from tests.train.shared import fit_bank
from tokmem.bank.store import Origin, save_bank
from tokmem.log import Metrics
from tokmem.train.settings import FitSettings

SETTINGS = FitSettings(
    lr=0.02,
    weight_decay=0.01,
    epochs=3,
    batch_size=2,
    validate_every=2,
    window=4,
    prefix_cache_mb=1,
    checkpoint_every=1,
)


class Slow(Metrics):
    """Leaves time to kill the run between two steps."""

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        super().write(step, values)
        time.sleep(0.03)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    lm = tiny_lm("llama", False)
    with Slow(folder / "metrics.jsonl") as metrics:
        fit_bank(
            lm,
            tiny_examples(lm.bank, 12),
            SETTINGS,
            validation=tiny_examples(lm.bank, 5, seed=1),
            checkpoint=folder / "checkpoint",
            callbacks=[metrics],
        )
    save_bank(lm.bank, folder / "bank", Origin("tiny", "f"))
