"""What the campaign of kills starts, each in a process of its own that is killed at a random moment.

A server process imports this module once, and every process is forked from it.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.export.tiny_memory import randomise, tiny_memory
from tests.tiny import DIM, tiny_backbone
from tests.tracks.killed_run import CONFIG, IN_ROUNDS
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.bank.store import Origin, load_bank, save_bank
from tokmem.data.lessons.lesson import Lesson
from tokmem.export.write import export
from tokmem.files import atomic_write_json
from tokmem.locks import lock_folder
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import teach
from tokmem.methods.tokmem import TokMem
from tokmem.model.converted import convert, file_sha256
from tokmem.model.fetch import Wheel, fetch_gguf
from tokmem.records import Example, Procedure
from tokmem.tracks.run import run

RUNS: dict[str, Any] = {
    "training, atomic": replace(CONFIG, methods=("tokmem",)),
    "training, closed addresses": replace(CONFIG, methods=("tokmem_dc+addresses=closed",)),
    "training, LoRA": replace(CONFIG, methods=("lora",)),
    "training, tools in rounds": replace(IN_ROUNDS, methods=("tokmem",)),
}
LESSON = "training, a lesson"
_backbone = lru_cache(maxsize=1)(lambda: tiny_backbone(tiny_tokenizer(LLAMA)))


def train(folder: Path, what: str) -> None:
    """Runs an experiment or a lesson, or goes on with it."""
    torch.set_num_threads(1)
    if what == LESSON:
        learn(folder)
        return
    run(RUNS[what], folder, backbone=_backbone(), resume=folder.exists())


def learn(folder: Path) -> None:
    """Learns a lesson in several passes, and saves the bank and the card as a run does."""
    lesson = Lesson(Procedure("upper"), "Write the text in capital letters.")
    memory = TokMem(_backbone(), prompt="query", policy="append")
    queries = [Example(f"say {word}") for word in ("France", "Today", "Italy", "a river", "Japan", "Peru")]
    training = {"epochs": 12, "batch_size": 1, "lr": 0.05, "checkpoint_every": 1}
    settings = LessonSettings(max_new_tokens=4)
    card = teach(memory, lesson, settings, queries=queries, training=training, folder=folder / "work")
    memory.save(folder / "banks" / "upper")
    atomic_write_json(folder / "summary.json", {"rows": [asdict(card)]})


def memories() -> list[TokMem]:
    """Two memories of one backbone that differ in every row."""
    first, second = tiny_memory(coupled=False), tiny_memory(coupled=False)
    randomise(first)
    for table in second.bank.tables:
        table.set_rows(table.rows() + 1, len(table))
    return [first, second]


def save(folder: Path) -> None:
    """Saves two banks in turn."""
    for memory in itertools.cycle(memories()):
        memory.save(folder)


def rows_of(number: int) -> torch.Tensor:
    """The rows of the procedure with a number, (1, 1, d)."""
    return torch.full((1, 1, DIM), float(number))


def add(folder: Path) -> None:
    """Adds one procedure after the other to a saved bank."""
    while True:
        with lock_folder(folder):
            bank = load_bank(folder)[0] if folder.exists() else Bank(DIM, IdSpace(96))
            bank.add([Procedure(f"p{len(bank)}")], rows_of(len(bank)))
            save_bank(bank, folder, Origin("tiny", "f"))


def export_again(folder: Path) -> None:
    """Exports two memories in turn."""
    for memory in itertools.cycle(memories()):
        export(memory, folder, to="peft", check=False)


def convert_again(gguf: Path, cache: Path) -> None:
    """Converts a file again and again."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    while True:
        held = convert(file_sha256(gguf), torch.float32, lambda: gguf)
        shutil.rmtree(held.folder)


def fetch_again(wheel: Wheel, environment: Mapping[str, str]) -> None:
    """Fetches a file again and again, from the index and into the cache that the environment names."""
    os.environ.update(environment)
    while True:
        fetch_gguf(wheel).unlink()


def reported(ready: Any, work: Callable[..., None], *arguments: Any) -> None:
    """Says that the process is up, and works."""
    ready.set()
    work(*arguments)
