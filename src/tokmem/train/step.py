"""One forward pass of training, in its two equal forms: over frozen prefixes, and plain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tokmem.data.collate import IGNORE, collate
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.loss import LossSum, memory_loss
from tokmem.train.prefix import Prefix, stack_prefixes


def plain_loss(lm: MemoryLM, examples: Sequence[Encoded]) -> LossSum:
    """Runs whole sequences with a graph. The reference, and the path where the backbone itself trains."""
    batch = collate(examples, whole=True).to(lm.device)
    positions = torch.arange(batch.ids.shape[1], device=lm.device).expand_as(batch.ids)
    hidden = lm.hidden(batch.ids, batch.mask, positions)
    targets = batch.targets[:, 1:]
    chosen = targets != IGNORE
    return memory_loss(lm.head, hidden[chosen], targets[chosen])


def frozen_prefix_loss(lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]) -> LossSum:
    """Runs memory tokens and responses alone, reading their queries' keys and values.

    The first supervised position is predicted by the prefix's last state: its gradient, (p - y) h, reaches
    addresses only. Equal to `plain_loss` in value and gradient.
    """
    packs = max(len(e.ids) for e in examples) - 1 <= lm.longest_packed
    hidden, targets = (_packed if packs else _padded)(lm, examples, prefixes)
    chosen = targets != IGNORE
    return memory_loss(lm.head, hidden[chosen], targets[chosen])


def _packed(lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]) -> tuple[Tensor, Tensor]:
    """States, and the targets that they predict, of all examples one after the other."""
    parts = [e.ids[e.prefix : -1] for e in examples]
    states = lm.packed(parts, [p.joined() for p in prefixes]).split([len(part) for part in parts])
    pieces = [x for p, own in zip(prefixes, states, strict=True) for x in (p.hidden[None], own)]
    labels = [
        i if on else IGNORE
        for e in examples
        for i, on in zip(e.ids[e.prefix :], e.supervised[e.prefix :], strict=True)
    ]
    return torch.cat(pieces), torch.tensor(labels, device=lm.device)


def _padded(lm: MemoryLM, examples: Sequence[Encoded], prefixes: Sequence[Prefix]) -> tuple[Tensor, Tensor]:
    """The same with a row an example, padding between prefix and suffix masked: (B, T + 1, d), (B, T + 1)."""
    batch = collate(examples, whole=False).to(lm.device)
    cache, mask, last = stack_prefixes(prefixes)
    positions = batch.starts[:, None] + torch.arange(batch.ids.shape[1], device=lm.device)
    hidden = lm.hidden(batch.ids, torch.cat([mask, batch.mask], 1), positions, cache)
    return torch.cat([last[:, None], hidden], 1), batch.targets
