"""Runs small experiments in one of several processes; a test starts this program."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tests.tracks.killed_run import CONFIG as ATOMIC
from tests.tracks.tiny_tools import CONFIG as TOOLS
from tokmem.errors import TrainingError
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.compositional.config import CompositionalConfig
from tokmem.tracks.run import run
from tokmem.train.parallel import join_processes

CONFIGS: dict[str, AtomicConfig | CompositionalConfig] = {
    # One job: all processes train together, side by side and in chains; val_size gives a validation loss.
    "closed": replace(ATOMIC, methods=("tokmem_dc+addresses=closed",), data=replace(ATOMIC.data, val_size=1)),
    "chains": replace(TOOLS, methods=("tokmem_dc+addresses=closed",)),
    # Several jobs: each process takes some.
    "jobs": replace(ATOMIC, methods=("tokmem", "base", "tokmem_dc+addresses=trained")),
}


def launch(index: int, port: int) -> None:
    """Sets what `torchrun` would set for one of two processes."""
    names = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)


def run_all(folder: Path, *, resume: bool = False) -> None:
    """Runs the experiments; a file holds the summaries that this process was told."""
    backbone = tiny_backbone(tiny_tokenizer(LLAMA))
    told = {
        name: run(config, folder / name, backbone=backbone, resume=resume) for name, config in CONFIGS.items()
    }
    (folder / f"told{join_processes().index}.json").write_text(json.dumps(told))


def main(index: int, port: int, folder: Path) -> None:
    """Runs the experiments in one of two processes."""
    launch(index, port)
    run_all(folder)
    torch.distributed.destroy_process_group()


def fail(index: int, port: int, folder: Path) -> None:
    """Fails in the second process; a file holds what the first one says of it."""
    launch(index, port)
    processes = join_processes()
    if index:
        raise ValueError("this process fails")
    try:
        processes.wait()
    except TrainingError as error:
        (folder / "said").write_text(str(error))
