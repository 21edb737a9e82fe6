"""Frozen prefixes: the part of a sequence before its first memory token, read once and without a graph.

A prefix does not depend on what trains, so its keys, values and last state are constants of the loss. This
is exact: loss and gradients equal those of the plain path (`tests/train/test_oracle.py`). A beginning that
prompts share, their stem, is read once; the rest of each prompt then reads the stem's keys and values.

Letters: B batch, L prefix positions, G key-value heads, D head size, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tokmem.data.collate import left_pad, on_device, right_pad
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.packed import Past
from tokmem.model.prefix_tree import pack

# Padding costs as much as text, and one more batch costs little: shorter prefixes go to another batch.
LEAST_FILL = 0.8
# Tokens in a batch. Beyond a thousand rows a CPU's matrix products gain nothing; their results page-fault.
BATCH_TOKENS, CPU_BATCH_TOKENS = 8192, 1024


@dataclass(frozen=True)
class Prefix:
    """The states of a prefix, or of a stem, that later positions need.

    Attributes:
        layers: for each layer its own keys and values (G, L, D), without those of the stem.
        hidden: (d,) last hidden state of the last position.
        stem: the stem before it, if there is one.
    """

    layers: Past
    hidden: Tensor
    stem: Prefix | None = None

    @property
    def length(self) -> int:
        """The number of positions L, including those of the stem."""
        own = int(self.layers[0][0].shape[-2])
        return own if self.stem is None else self.stem.length + own

    @property
    def nbytes(self) -> int:
        """The number of bytes, without those of the stem."""
        return self.hidden.nbytes + sum(k.nbytes + v.nbytes for k, v in self.layers)

    @property
    def parts(self) -> tuple[Past, ...]:
        """The keys and values of each layer: those of the stems, from the first one on, and its own."""
        return (*(self.stem.parts if self.stem else ()), self.layers)

    def joined(self) -> Past:
        """The keys and values of each layer, including those of the stem."""
        if self.stem is None:
            return self.layers
        return [
            (torch.cat([k for k, _ in layer], 1), torch.cat([v for _, v in layer], 1))
            for layer in zip(*self.parts, strict=True)
        ]


def suitable_tokens(lm: MemoryLM) -> int:
    """The number of tokens in a batch that suits the device."""
    return CPU_BATCH_TOKENS if lm.device.type == "cpu" else BATCH_TOKENS


def read_packed(
    lm: MemoryLM, sequences: Sequence[Sequence[int]], past: Sequence[Sequence[Past]] = ()
) -> tuple[list[Past], Tensor]:
    """Runs sequences through the backbone in one packed row.

    Args:
        lm: the model.
        sequences: token ids of each of S sequences.
        past: see `MemoryLM.packed`.

    Returns:
        each sequence's own keys and values, which are views of the row's, and the last states (S, d).
    """
    lengths, cache = [len(ids) for ids in sequences], DynamicCache()
    states = lm.packed(sequences, past, cache)
    layers: list[Any] = cache.layers
    pairs = [
        zip(*(x[0].split(lengths, 1) for x in (layer.keys, layer.values)), strict=True) for layer in layers
    ]
    lasts = torch.tensor(lengths, device=states.device).cumsum(0) - 1
    return [list(own) for own in zip(*pairs, strict=True)], states[lasts]


@torch.no_grad()
def read_prefixes(
    lm: MemoryLM,
    prefixes: Sequence[Sequence[int]],
    batch_tokens: int = 0,
    stems: Sequence[Prefix | None] = (),
) -> list[Prefix]:
    """Runs prefixes through the backbone: packed in their order if that is exact, else in padded batches.

    The batches depend only on `prefixes` and the lengths of stems, because the shape of a batch decides the
    last bits of its states.

    Args:
        lm: the model.
        prefixes: token ids of each prefix, without those of its stem.
        batch_tokens: most tokens in a batch of several prefixes; 0 takes the number that suits the device.
        stems: the stem of each prefix, if it has one. A prefix with its stem is at most `lm.longest_packed`
            tokens long.
    """
    tokens, stems = batch_tokens or suitable_tokens(lm), stems or [None] * len(prefixes)
    fits = [i for i, s in enumerate(stems) if s or len(prefixes[i]) <= lm.longest_packed]
    rest = sorted(set(range(len(prefixes))) - set(fits), key=lambda i: (-len(prefixes[i]), i))
    states: dict[int, Prefix] = {}
    for chosen in pack([len(prefixes[i]) for i in fits], tokens):
        some = [fits[n] for n in chosen]
        read = _read_packed(lm, [prefixes[i] for i in some], [stems[i] for i in some])
        states |= zip(some, read, strict=True)
    for some in _padded(rest, prefixes, tokens):
        states |= zip(some, _read_padded(lm, [prefixes[i] for i in some]), strict=True)
    return [states[i] for i in range(len(prefixes))]


@torch.no_grad()
def last_states(lm: MemoryLM, prefixes: Sequence[Sequence[int]]) -> Tensor:
    """Reads the last hidden state of each prefix, (B, d), also where the backbone keeps a recurrent state.

    A recurrent backbone has no keys and values to keep, and padding on the left would enter its state. It
    runs over batches that are padded on the right.

    Args:
        lm: the model.
        prefixes: token ids of each prefix.
    """
    if not is_recurrent(lm.model):
        return torch.stack([prefix.hidden for prefix in read_prefixes(lm, prefixes)])
    states: dict[int, Tensor] = {}
    order = sorted(range(len(prefixes)), key=lambda i: (-len(prefixes[i]), i))
    for some in _padded(order, prefixes, suitable_tokens(lm)):
        ids, mask = (t.to(lm.device) for t in right_pad([prefixes[i] for i in some]))
        positions = torch.arange(ids.shape[1], device=lm.device).expand_as(ids)
        hidden = lm.hidden(ids, mask, positions)
        states |= {i: row[len(prefixes[i]) - 1].clone() for i, row in zip(some, hidden, strict=True)}
    return torch.stack([states[i] for i in range(len(prefixes))])


def _padded(order: Sequence[int], prefixes: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Batches prefixes of falling lengths; all have `LEAST_FILL` of the longest of their batch, or more."""
    batches: list[list[int]] = []
    while order:
        longest = len(prefixes[order[0]])
        room = order[: max(1, tokens // longest)]
        batches.append([i for i in room if len(prefixes[i]) >= LEAST_FILL * longest])
        order = order[len(batches[-1]) :]
    return batches


def _read_packed(
    lm: MemoryLM, prefixes: Sequence[Sequence[int]], stems: Sequence[Prefix | None]
) -> list[Prefix]:
    past = [stem.parts if stem else () for stem in stems] if any(stems) else ()
    return [
        Prefix(tuple((_copy(k), _copy(v)) for k, v in own), last.clone(), stem)
        for own, last, stem in zip(*read_packed(lm, prefixes, past), stems, strict=True)
    ]


def _read_padded(lm: MemoryLM, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
    ids, mask, positions = (t.to(lm.device, non_blocking=True) for t in left_pad(prefixes))
    cache = DynamicCache()
    hidden = lm.hidden(ids, mask, positions, cache)[:, -1]
    layers: list[Any] = cache.layers
    # The padding is on the left.
    return [
        Prefix(
            tuple((_copy(x.keys[row, :, -len(ids) :]), _copy(x.values[row, :, -len(ids) :])) for x in layers),
            hidden[row].clone(),
        )
        for row, ids in enumerate(prefixes)
    ]


def _copy(states: Tensor) -> Tensor:
    """A copy (G, L, D): a view would keep the states of the whole batch in memory."""
    return states.clone(memory_format=torch.contiguous_format)


def stack_prefixes(prefixes: Sequence[Prefix]) -> tuple[DynamicCache, Tensor, Tensor]:
    """Stacks prefixes into a batch, padded on the left.

    Returns:
        a cache of B rows and L positions that a forward pass may extend, its mask (B, L), and the last states
        (B, d).
    """
    length, joined = max(p.length for p in prefixes), [p.joined() for p in prefixes]
    cache = DynamicCache()
    for index in range(len(joined[0])):
        keys, values = (
            torch.stack([_left_padded(layers[index][part], length) for layers in joined]) for part in (0, 1)
        )
        cache.update(keys, values, index)
    hidden = torch.stack([p.hidden for p in prefixes])
    mask = on_device([[0] * (length - p.length) + [1] * p.length for p in prefixes], hidden.device)
    return cache, mask, hidden


def _left_padded(states: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[-2], 0))
