"""Frozen prefixes: the part of a sequence before its first memory token, read once and without a graph.

Nothing there depends on what is trained, so its keys, values and last state are constants of the loss. Exact:
same loss and same gradients as the plain path (`tests/train/test_oracle.py`).

Letters: B batch, L prefix positions, G key-value heads, D head size, d hidden size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tokmem.data.collate import left_pad
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded

# Padding costs as much as text, a batch more costs little: split where less than this share would be text.
LEAST_FILL = 0.8


@dataclass(frozen=True)
class Prefix:
    """What later positions need of one sequence's prefix.

    Attributes:
        layers: keys and values of each layer, each (G, L, D).
        hidden: (d,) last hidden state of the last prefix position.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    hidden: Tensor

    @property
    def length(self) -> int:
        """L."""
        return int(self.layers[0][0].shape[-2])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.hidden.nbytes + sum(k.nbytes + v.nbytes for k, v in self.layers)


@torch.no_grad()
def read_prefixes(lm: MemoryLM, prefixes: Sequence[Sequence[int]], batch_tokens: int = 8192) -> list[Prefix]:
    """Runs prefixes through the backbone in left-padded batches of similar length.

    A batch holds at most `batch_tokens`, and none that is shorter than `LEAST_FILL` of its longest. The
    batches are a function of `prefixes` alone: a state changes in its last bits with its batch's shape.
    """
    order = sorted(range(len(prefixes)), key=lambda i: (-len(prefixes[i]), i))
    states: dict[int, Prefix] = {}
    while order:
        longest = len(prefixes[order[0]])
        room = order[: max(1, batch_tokens // longest)]
        chosen = [i for i in room if len(prefixes[i]) >= LEAST_FILL * longest]
        order = order[len(chosen) :]
        states |= zip(chosen, _read_batch(lm, [prefixes[i] for i in chosen]), strict=True)
    return [states[i] for i in range(len(prefixes))]


def _read_batch(lm: MemoryLM, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
    ids, mask, positions = (t.to(lm.device) for t in left_pad(prefixes))
    cache = DynamicCache()
    hidden = lm.hidden(ids, mask, positions, cache)[:, -1]
    layers: list[Any] = cache.layers
    return [
        Prefix(
            tuple((_tail(layer.keys[row], len(ids)), _tail(layer.values[row], len(ids))) for layer in layers),
            hidden[row].clone(),
        )
        for row, ids in enumerate(prefixes)
    ]


def _tail(states: Tensor, length: int) -> Tensor:
    """(G, padded, D) -> a copy of the last `length` positions: padding stands on the left."""
    return states[..., -length:, :].contiguous()


def stack_prefixes(prefixes: Sequence[Prefix]) -> tuple[DynamicCache, Tensor, Tensor]:
    """Puts prefixes side by side, padded on the left.

    Returns:
        a cache of B rows and L positions that a forward may extend, its mask (B, L), the last states (B, d).
    """
    length = max(p.length for p in prefixes)
    cache = DynamicCache()
    for index in range(len(prefixes[0].layers)):
        keys, values = (
            torch.stack([_left_padded(p.layers[index][part], length) for p in prefixes]) for part in (0, 1)
        )
        cache.update(keys, values, index)
    mask = torch.tensor([[0] * (length - p.length) + [1] * p.length for p in prefixes])
    hidden = torch.stack([p.hidden for p in prefixes])
    return cache, mask.to(hidden.device), hidden


def _left_padded(states: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[-2], 0))


class PrefixCache:
    """Prefixes by window, the least recently used dropped beyond a budget.

    Args:
        lm: the model that reads them.
        budget: most bytes to keep; 0 keeps the window in use alone.

    Attributes:
        hits, misses: windows found and read.
    """

    def __init__(self, lm: MemoryLM, budget: int) -> None:
        self.lm, self.budget = lm, budget
        self.hits = self.misses = 0
        self._windows: OrderedDict[Hashable, list[Prefix]] = OrderedDict()

    def window(self, key: Hashable, examples: Sequence[Encoded]) -> list[Prefix]:
        """The prefixes of a window's examples, in their order."""
        if key in self._windows:
            self.hits += 1
            self._windows.move_to_end(key)
            return self._windows[key]
        self.misses += 1
        self._windows[key] = read_prefixes(self.lm, [e.ids[: e.prefix] for e in examples])
        while len(self._windows) > 1 and self._held() > self.budget:
            self._windows.popitem(last=False)
        return self._windows[key]

    def _held(self) -> int:
        return sum(p.nbytes for window in self._windows.values() for p in window)
