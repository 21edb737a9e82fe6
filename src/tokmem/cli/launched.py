"""Commands in several processes that torchrun or `accelerate launch` started.

The first process alone prints, asks, and writes what the command itself writes. The others print errors only.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tokmem.errors import ConfigError
from tokmem.locks import lock_folder
from tokmem.log import configure, hide_bars

_TOGETHER = "train, run, tools and learn"


def count() -> int:
    """The number of processes that were launched together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def index() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def from_first(make: Callable[[], str]) -> str:
    """A text that the first process makes; every process gets it."""
    if count() == 1:
        return make()
    from tokmem.train.parallel import join_processes

    return join_processes().from_first(make)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets no other command write a folder within the block; makes the folder above it if there is none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext() if index() else lock_folder(folder):
        yield


@contextmanager
def joined(together: bool) -> Iterator[None]:
    """Joins the launched processes for a command, and silences all but the first.

    Args:
        together: whether the command can run in several processes.

    Raises:
        ConfigError: there are several, and it cannot.
    """
    if count() == 1:
        yield
        return
    if not together:
        raise ConfigError(f"this command in {count()} processes", "one process", f"launch {_TOGETHER} only")
    if index():
        configure("ERROR")
        hide_bars()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Python's handlers wait for what waits for the others
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 stays open
    import torch

    from tokmem.train.parallel import join_processes

    join_processes()  # before the backbone is loaded: takes this process's device
    yield
    torch.distributed.destroy_process_group()
