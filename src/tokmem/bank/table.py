"""A table of rows, of which those learned in earlier stages are frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Table(nn.Module):
    """Rows of a bank: `frozen` ones first, then `fresh` ones, which alone are a parameter.

    Keeping the two apart is what isolates earlier stages: no gradient, no momentum and no weight decay can
    reach a frozen row, because no optimizer ever sees it.

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
        """All rows, (S, d) float32, detached."""
        return torch.cat([self.frozen, self.fresh.detach()])

    def gather(self, slots: Tensor) -> Tensor:
        """Rows of the given slots: (...) long -> (..., d); slots must be in range, the table not empty."""
        count = self.frozen.shape[0]
        if count == 0:
            return F.embedding(slots, self.fresh)
        if self.fresh.shape[0] == 0:
            return F.embedding(slots, self.frozen)
        old = F.embedding(slots.clamp(max=count - 1), self.frozen)
        new = F.embedding((slots - count).clamp(min=0), self.fresh)
        return torch.where((slots < count).unsqueeze(-1), old, new)

    def segments(self) -> list[Tensor]:
        """The non-empty ones of [frozen (F, d), fresh (N, d)]: read them apart and no (S, d) copy is made."""
        return [part for part in (self.frozen, self.fresh) if part.shape[0]]

    def set_rows(self, rows: Tensor, frozen: int) -> None:
        """Replaces all rows; the first `frozen` become the frozen ones."""
        rows = rows.detach().to(self.frozen.device, torch.float32)
        self.frozen = rows[:frozen].clone()
        self.fresh = nn.Parameter(rows[frozen:].clone())
