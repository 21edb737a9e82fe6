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
# Tokens in a batch. Past a thousand rows a CPU's matrix products gain nothing, and their results page-fault.
BATCH_TOKENS, CPU_BATCH_TOKENS = 8192, 1024


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
def read_prefixes(lm: MemoryLM, prefixes: Sequence[Sequence[int]], batch_tokens: int = 0) -> list[Prefix]:
    """Runs prefixes through the backbone: packed in their order where that is exact, else in padded batches.

    A batch holds at most `batch_tokens` (0: as many as suit the device), or one prefix. The batches are a
    function of `prefixes` alone: a state changes in its last bits with its batch's shape.
    """
    tokens = batch_tokens or (CPU_BATCH_TOKENS if lm.device.type == "cpu" else BATCH_TOKENS)
    fits = [i for i in range(len(prefixes)) if len(prefixes[i]) <= lm.longest_packed]
    order = sorted(set(range(len(prefixes))) - set(fits), key=lambda i: (-len(prefixes[i]), i))
    batches = [(_read_packed, chosen) for chosen in _packs(fits, prefixes, tokens)]
    batches += [(_read_padded, chosen) for chosen in _padded(order, prefixes, tokens)]
    states: dict[int, Prefix] = {}
    for read, chosen in batches:
        states |= zip(chosen, read(lm, [prefixes[i] for i in chosen]), strict=True)
    return [states[i] for i in range(len(prefixes))]


def _packs(order: Sequence[int], prefixes: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    packs: list[list[int]] = []
    room = 0
    for i in order:
        room -= len(prefixes[i])
        if room < 0:
            packs.append([])
            room = tokens - len(prefixes[i])
        packs[-1].append(i)
    return packs


def _padded(order: Sequence[int], prefixes: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Batches of a falling order of lengths, none of them with a prefix under `LEAST_FILL` of its longest."""
    batches: list[list[int]] = []
    while order:
        longest = len(prefixes[order[0]])
        room = order[: max(1, tokens // longest)]
        batches.append([i for i in room if len(prefixes[i]) >= LEAST_FILL * longest])
        order = order[len(batches[-1]) :]
    return batches


def _read_packed(lm: MemoryLM, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
    lengths, cache = [len(ids) for ids in prefixes], DynamicCache()
    lasts = [states[-1].clone() for states in lm.packed(prefixes, cache=cache).split(lengths)]
    layers: list[Any] = cache.layers
    parts = [
        zip(*(x[0].split(lengths, 1) for x in (layer.keys, layer.values)), strict=True) for layer in layers
    ]
    copies = [tuple((_copy(k), _copy(v)) for k, v in pairs) for pairs in zip(*parts, strict=True)]
    return [Prefix(pairs, last) for pairs, last in zip(copies, lasts, strict=True)]


def _read_padded(lm: MemoryLM, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
    ids, mask, positions = (t.to(lm.device) for t in left_pad(prefixes))
    cache = DynamicCache()
    hidden = lm.hidden(ids, mask, positions, cache)[:, -1]
    layers: list[Any] = cache.layers
    # Padding stands on the left.
    return [
        Prefix(
            tuple((_copy(x.keys[row, :, -len(ids) :]), _copy(x.values[row, :, -len(ids) :])) for x in layers),
            hidden[row].clone(),
        )
        for row, ids in enumerate(prefixes)
    ]


def _copy(states: Tensor) -> Tensor:
    """(G, L, D) of its own: a view would keep the whole batch."""
    return states.clone(memory_format=torch.contiguous_format)


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
