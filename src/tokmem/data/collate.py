"""Pads sequences of different lengths into tensors.

Letters: B batch, L prefix positions (padded on the left), T suffix positions (padded on the right).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokmem.records import Encoded

IGNORE = -100


def on_device(values: Sequence[Any], device: torch.device) -> Tensor:
    """Makes a tensor of whole numbers on a device, without making the host wait."""
    return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)


def left_pad(sequences: Sequence[Sequence[int]], pad: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Pads token ids on the left.

    Returns:
        ids (B, L), mask (B, L) with 1 on real tokens, positions (B, L) from each sequence's own start.
    """
    length = max(map(len, sequences))
    ids = torch.tensor([[pad] * (length - len(s)) + list(s) for s in sequences])
    mask = torch.tensor([[0] * (length - len(s)) + [1] * len(s) for s in sequences])
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def right_pad(sequences: Sequence[Sequence[int]], pad: int = 0) -> tuple[Tensor, Tensor]:
    """Pads token ids on the right.

    Returns:
        ids (B, T), and mask (B, T) with 1 on real tokens.
    """
    length = max(map(len, sequences))
    ids = torch.tensor([list(s) + [pad] * (length - len(s)) for s in sequences])
    return ids, torch.tensor([[1] * len(s) + [0] * (length - len(s)) for s in sequences])


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of a training step.

    Attributes:
        ids: (B, T) input ids from `start` on, without the last token, which is only a target.
        mask: (B, T) 1 on real tokens.
        targets: (B, T + 1) ids to predict at supervised positions, else IGNORE. The state *before* input j
            predicts column j: the last state of the prefix predicts column 0.
        starts: (B,) how many tokens stand before column 0 of `ids`.
    """

    ids: Tensor
    mask: Tensor
    targets: Tensor
    starts: Tensor

    def to(self, device: torch.device) -> Batch:
        """Moves the batch to another device."""
        return Batch(
            *(t.to(device, non_blocking=True) for t in (self.ids, self.mask, self.targets, self.starts))
        )


def collate(examples: Sequence[Encoded], *, whole: bool) -> Batch:
    """Pads examples into a batch.

    Args:
        examples: encoded examples.
        whole: take whole sequences instead of what follows the prefix. This is the plain path: column 0 of
            the targets is the first token and is never supervised.
    """
    starts = [0 if whole else example.prefix for example in examples]
    parts = [(e.ids[s:], e.supervised[s:]) for e, s in zip(examples, starts, strict=True)]
    ids, mask = right_pad([ids[:-1] for ids, _ in parts])
    labels = [[i if on else IGNORE for i, on in zip(*part, strict=True)] for part in parts]
    targets, _ = right_pad(labels, IGNORE)
    return Batch(ids, mask, targets, torch.tensor(starts))
