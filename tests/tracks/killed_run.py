"""Runs a small experiment with a checkpoint at every step; a test kills and restarts this program."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tests.tracks.tiny_tools import CONFIG as TOOLS
from tokmem.log import Metrics
from tokmem.methods.adapted import AdapterSettings
from tokmem.recall.settings import RecallSettings
from tokmem.tracks import progress
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.atomic.data import DataConfig
from tokmem.tracks.compositional.config import CompositionalConfig
from tokmem.tracks.run import run
from tokmem.train.settings import FitSettings

CONFIG = AtomicConfig(
    data=DataConfig(num_tasks=4, train_size=8, val_size=0, test_size=2),
    training=FitSettings(lr=0.02, batch_size=2, epochs=2, checkpoint_every=1),
    recall=RecallSettings(max_new_tokens=3, batch_size=8),
    lora=AdapterSettings(lora_dropout=0.1),
    prompts=("query",),
    stages=(2, 4),
    schedule="blocks",
    block_size=2,
)

IN_ROUNDS = replace(TOOLS, rounds=replace(TOOLS.rounds, epochs_per_round=2))


class Slow(Metrics):
    """Leaves time to kill the run between two steps."""

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        super().write(step, values)
        time.sleep(0.03)


def main(folder: Path, config: AtomicConfig | CompositionalConfig, slow: bool = False) -> None:
    torch.set_num_threads(1)
    if slow:
        progress.Metrics = Slow
    run(config, folder, backbone=tiny_backbone(tiny_tokenizer(LLAMA)), resume=folder.exists())
