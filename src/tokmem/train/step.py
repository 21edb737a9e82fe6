"""One forward pass of training, in three equal forms: padded, packed, and over frozen prefixes.

The host knows which states are supervised, so no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from tokmem.data.collate import collate, on_device
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import Prefix, stack_prefixes
from tokmem.records import Encoded
from tokmem.train.loss import LossSum, memory_loss

# Most tokens that run with a graph together, if whole sequences do.
MAX_TOKENS, CPU_TOKENS = 16_384, 2_048


def portions(examples: Sequence[Encoded], device: torch.device) -> Iterator[list[Encoded]]:
    """Cuts examples, in their order, into parts of a limited number of tokens.

    An example that is longer than the limit makes a part of its own. The states that a part keeps for its
    gradient are most of what it holds in memory, so the limit bounds the memory.

    Args:
        examples: of one micro-batch.
        device: a part has at most `CPU_TOKENS` tokens on a CPU and `MAX_TOKENS` elsewhere.
    """
    most = CPU_TOKENS if device.type == "cpu" else MAX_TOKENS
    part: list[Encoded] = []
    size = 0
    for example in examples:
        if part and size + len(example.ids) > most:
            yield part
            part, size = [], 0
        part.append(example)
        size += len(example.ids)
    if part:
        yield part


def plain_loss(lm: MemoryLM, examples: Sequence[Encoded]) -> LossSum:
    """Runs whole sequences with a graph, padded to one length: the reference for the other forms."""
    return memory_loss(lm.head, *plain_states(lm, examples))


def plain_states(lm: MemoryLM, examples: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """States (N, d) before the N supervised tokens of whole sequences, and these tokens, by example."""
    batch = collate(examples, whole=True).to(lm.device)
    positions = torch.arange(batch.ids.shape[1], device=lm.device).expand_as(batch.ids)
    hidden = lm.hidden(batch.ids, batch.mask, positions)
    return _supervised(hidden.flatten(0, 1), examples, [1] * len(examples), [hidden.shape[1]] * len(examples))


def whole_loss(lm: MemoryLM, examples: Sequence[Encoded]) -> LossSum:
    """Equals `plain_loss`, without padding. It trains the backbone itself, whose prompts are never frozen."""
    return memory_loss(lm.head, *whole_states(lm, examples))


def whole_states(lm: MemoryLM, examples: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """Equals `plain_states`; sequences run side by side if the backbone can be packed."""
    parts = [e.ids[:-1] for e in examples]
    if max(map(len, parts)) > lm.longest_packed:
        return plain_states(lm, examples)
    return _supervised(lm.packed(parts), examples, [1] * len(parts), [*map(len, parts)])


def frozen_prefix_loss(lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]) -> LossSum:
    """Runs only memory tokens and responses; they read the keys and values of their queries.

    The last state of the prefix predicts the first supervised position. Its gradient, (p - y) h, reaches
    only addresses. Equal to `plain_loss` in value and gradient.
    """
    return memory_loss(lm.head, *frozen_prefix_states(lm, examples, prefixes))


def frozen_prefix_states(
    lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]
) -> tuple[Tensor, Tensor]:
    """Equals `plain_states`, from prefixes that were read before."""
    packs = max(len(e.ids) for e in examples) - 1 <= lm.longest_packed
    hidden, widths = (_packed if packs else _padded)(lm, examples, prefixes)
    return _supervised(hidden, examples, [e.prefix for e in examples], widths)


def _packed(
    lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]
) -> tuple[Tensor, Sequence[int]]:
    """States before the tokens that follow each prefix, by example, and the number of each example's."""
    parts = [e.ids[e.prefix : -1] for e in examples]
    states = lm.packed(parts, [p.parts for p in prefixes]).split([len(part) for part in parts])
    pieces = [x for p, own in zip(prefixes, states, strict=True) for x in (p.hidden[None], own)]
    return torch.cat(pieces), [len(part) + 1 for part in parts]


def _padded(
    lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]
) -> tuple[Tensor, Sequence[int]]:
    """Equals `_packed`, with one row for each example; padding between prefix and suffix is masked."""
    batch = collate(examples, whole=False).to(lm.device)
    cache, mask, last = stack_prefixes(prefixes)
    positions = batch.starts[:, None] + torch.arange(batch.ids.shape[1], device=lm.device)
    hidden = lm.hidden(batch.ids, torch.cat([mask, batch.mask], 1), positions, cache)
    return torch.cat([last[:, None], hidden], 1).flatten(0, 1), [hidden.shape[1] + 1] * len(examples)


def _supervised(
    hidden: Tensor, examples: Sequence[Encoded], starts: Sequence[int], widths: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Selects the states before supervised tokens, and these tokens.

    Args:
        hidden: states of all examples, one example after the other.
        examples: encoded examples.
        starts: for each example the index of the token that its first state precedes.
        widths: for each example its number of states, with padding.
    """
    offsets = accumulate(widths, initial=0)
    chosen = [
        (offset + place, token)
        for e, start, offset in zip(examples, starts, offsets, strict=False)
        for place, (token, on) in enumerate(zip(e.ids[start:], e.supervised[start:], strict=True))
        if on
    ]
    rows, targets = on_device(list(zip(*chosen, strict=True)) or [(), ()], hidden.device)
    return hidden.index_select(0, rows), targets
