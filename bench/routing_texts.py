"""Sentence-BERT beside states: a query goes to the task of the training example whose text is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import normalize

from bench.routing_learners import Tasks
from bench.routing_states import Read, TaskStates
from tokmem.data.corpus import Corpus
from tokmem.data.encode import PromptMode, user_text
from tokmem.files import atomic_write_bytes
from tokmem.log import progress
from tokmem.methods.retrieval.text_encoder import TextEncoder
from tokmem.records import Example

POOLS: tuple[PromptMode, ...] = ("query", "instruction+query")


class NearestExample:
    """The task of the nearest training example by cosine."""

    def __init__(self) -> None:
        self.pools: list[Tensor] = []

    def learn(self, block: Tasks) -> None:
        self.pools += [normalize(task.train.states) for task in block]

    def scores(self, states: Tensor) -> Tensor:
        asked = normalize(states)
        return torch.stack([(asked @ pool.T).amax(-1) for pool in self.pools], -1)


def read_texts(
    encoder: TextEncoder, folder: Path, corpus: Corpus, examples: int, tasks: int
) -> dict[str, dict[PromptMode, tuple[Tensor, Tensor]]]:
    """Vectors of training and test texts by task and by what a text holds; read once and kept in a folder.

    Args:
        encoder: turns texts into vectors.
        folder: receives a file for each task.
        corpus: tasks with their examples.
        examples: training examples of a task.
        tasks: how many.
    """
    found: dict[str, dict[PromptMode, tuple[Tensor, Tensor]]] = {}
    with progress(tasks, "embedding", unit="task") as bar:
        for name in corpus.names[:tasks]:
            path = folder / f"{examples}-{name}.safetensors"
            parts = (corpus.train[name][:examples], corpus.test[name])
            if not path.is_file():
                vectors = {
                    f"{pool} {i}": encoder(_texts(pool, part))
                    for pool in POOLS
                    for i, part in enumerate(parts)
                }
                atomic_write_bytes(path, save(vectors))
            kept = load_file(path)
            found[name] = {pool: (kept[f"{pool} 0"], kept[f"{pool} 1"]) for pool in POOLS}
            bar.update()
    return found


def text_tasks(
    vectors: dict[str, dict[PromptMode, tuple[Tensor, Tensor]]], prompt: PromptMode, pool: PromptMode
) -> list[TaskStates]:
    """Tasks whose training texts hold `pool` and whose queries hold `prompt`."""

    def read(states: Tensor) -> Read:
        none = states.new_zeros(len(states))
        return Read(states, none, none)

    parts = {name: (own[pool][0], own[prompt][1], own[pool][0][:0]) for name, own in vectors.items()}
    return [TaskStates(name, *map(read, texts)) for name, texts in parts.items()]


def text_kinds(prompt: PromptMode) -> list[tuple[PromptMode, dict[str, Any]]]:
    """What the pool's texts hold, with the names of method and addresses: as `rag` and `rag_instructed`."""
    queries: dict[str, Any] = {"method": "rag", "addresses": "Sentence-BERT"}
    instructed: dict[str, Any] = {"method": "rag_instructed", "addresses": "Sentence-BERT, instructed"}
    return [("query", queries)] + ([("instruction+query", instructed)] if prompt != "query" else [])


def _texts(mode: PromptMode, examples: Sequence[Example]) -> list[str]:
    return [user_text(mode, example.instruction, example.query) for example in examples]
