"""One forward pass of training, in its two equal forms: over frozen prefixes, and plain."""

from __future__ import annotations

from collections.abc import Sequence

import torch

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
    batch = collate(examples, whole=False).to(lm.device)
    cache, mask, last = stack_prefixes(prefixes)
    positions = batch.starts[:, None] + torch.arange(batch.ids.shape[1], device=lm.device)
    hidden = lm.hidden(batch.ids, torch.cat([mask, batch.mask], 1), positions, cache)
    hidden = torch.cat([last[:, None], hidden], 1)
    chosen = batch.targets != IGNORE
    return memory_loss(lm.head, hidden[chosen], batch.targets[chosen])
