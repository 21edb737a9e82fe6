"""A table of rows; the rows of earlier stages are frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Table(nn.Module):
    """The rows of a bank: first the `frozen` rows, then the `fresh` rows. Only fresh rows are a parameter.

    The separation isolates earlier stages: no gradient, momentum or weight decay reaches a frozen row,
    because no optimizer sees it.

    Letters: F frozen rows, N fresh rows, S = F + N, d dimension.
    """

    frozen: Tensor
    fresh: nn.Parameter

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("frozen", torch.zeros(0, dim))
        self.fresh = nn.Parameter(torch.zeros(0, dim))

    def __len__(self) -> int:
        return self.frozen.shape[0] + self.fresh.shape[0]

    @property
    def dim(self) -> int:
        """Row dimension d."""
        return self.frozen.shape[1]

    def rows(self) -> Tensor:
        """All rows (S, d), float32, detached."""
        return torch.cat([self.frozen, self.fresh.detach()])

    def gather(self, slots: Tensor) -> Tensor:
        """The rows of slots: (...) long -> (..., d). Slots must be in range, and the table not empty."""
        count = self.frozen.shape[0]
        if count == 0:
            return F.embedding(slots, self.fresh)
        if self.fresh.shape[0] == 0:
            return F.embedding(slots, self.frozen)
        old = F.embedding(slots.clamp(max=count - 1), self.frozen)
        new = F.embedding((slots - count).clamp(min=0), self.fresh)
        return torch.where((slots < count).unsqueeze(-1), old, new)

    def segments(self) -> list[Tensor]:
        """The non-empty tensors among frozen (F, d) and fresh (N, d); reading them needs no (S, d) copy."""
        return [part for part in (self.frozen, self.fresh) if part.shape[0]]

    def set_rows(self, rows: Tensor, frozen: int) -> None:
        """Replaces all rows; the first `frozen` rows become frozen."""
        rows = rows.detach().to(self.frozen.device, torch.float32)
        self.frozen = rows[:frozen].clone()
        self.fresh = nn.Parameter(rows[frozen:].clone())
