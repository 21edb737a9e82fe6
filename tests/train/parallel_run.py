"""Trains a tiny bank in one of several processes; a test starts this program."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.tiny import tiny_lm
from tests.train.shared import shared_examples
from tokmem.files import atomic_write_json
from tokmem.log import Metrics
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.settings import FitReport, FitSettings

SETTINGS = FitSettings(
    lr=0.02, weight_decay=0.01, epochs=3, batch_size=3, accumulation=2, window=6, checkpoint_every=2
)


def train(folder: Path, name: str, *, frozen_prefix: bool = True) -> FitReport:
    """Twenty examples, in batches that two processes cannot share evenly; some query states are kept."""
    lm = tiny_lm("llama", False)
    lm.bank.keep_states("old0", torch.randn(3, lm.bank.dim, generator=torch.Generator().manual_seed(1)))
    objective = BankObjective(lm, frozen_prefix=frozen_prefix, cache_bytes=1 << 20, negatives=True)
    with Metrics(folder / f"{name}.jsonl") as metrics:
        report = fit(
            objective,
            shared_examples(lm.bank, 20),
            SETTINGS,
            validation=shared_examples(lm.bank, 5, seed=1),
            checkpoint=folder / "checkpoint",
            callbacks=[metrics],
        )
    rows = {str(i): table.rows() for i, table in enumerate(lm.bank.tables)}
    save_file(rows, folder / f"{name}.safetensors")
    atomic_write_json(folder / f"{name}.json", asdict(report))
    return report


def main(index: int, count: int, port: int, folder: Path, frozen_prefix: bool) -> None:
    """What `torchrun` would start."""
    names = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    train(folder, f"process{index}", frozen_prefix=frozen_prefix)
    train(folder, f"again{index}", frozen_prefix=frozen_prefix)  # takes up the finished run
    torch.distributed.destroy_process_group()
