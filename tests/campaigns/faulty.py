"""What the campaign of faults starts in processes of their own: commands, and writers of one bank."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import tokmem.cli.main
from tests.tiny import DIM
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.bank.store import Origin, load_bank, save_bank
from tokmem.locks import lock_folder
from tokmem.records import Procedure
from tokmem.tracks import run as _run  # imported here, so that forked commands begin at once

assert _run


def command(ready: Any, said: Path, folder: Path, args: list[str]) -> None:
    """Runs `tokmem` with arguments in a folder; its standard error goes to the file `said`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.chdir(folder)
    sys.argv = ["tokmem", *args]
    ready.set()
    tokmem.cli.main.main()


def empty_bank() -> Bank:
    return Bank(DIM, IdSpace(96))


def add_some(ready: Any, folder: Path, own: str, count: int) -> None:
    """Adds procedures one by one; the bank must be readable before each."""
    import torch

    ready.set()
    for number in range(count):
        load_bank(folder)
        with lock_folder(folder):
            bank, _ = load_bank(folder)
            bank.add([Procedure(f"{own}.{number}")], torch.full((1, 1, DIM), float(number)))
            save_bank(bank, folder, Origin("tiny", "f"))
