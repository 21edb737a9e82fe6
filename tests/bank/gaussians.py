"""Synthetic states: for each procedure a Gaussian cloud about its own mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokmem.bank.policy import ClosedForm
from tokmem.bank.statistics import Statistics

DIM = 12
READ_WITH = {"backbone": "b0", "chat format": "c0", "prompt mode": "query"}


def clouds(
    procedures: int, count: int, *, dim: int = DIM, spread: float = 2.0, seed: int = 0
) -> dict[str, Tensor]:
    """(count, d) states of each procedure `p0`, `p1`, ..., about means `spread` from a common centre."""
    draws = torch.Generator().manual_seed(seed)
    shape = torch.randn(dim, dim, generator=draws) * 0.5 + torch.eye(dim)
    centre = 3 + torch.randn(dim, generator=draws)
    return {
        f"p{i}": centre
        + spread * torch.randn(dim, generator=draws)
        + torch.randn(count, dim, generator=draws) @ shape
        for i in range(procedures)
    }


def statistics_of(states: dict[str, Tensor], level: float = 5.0, **policy: Any) -> Statistics:
    """Statistics of these states in their order."""
    dim = next(iter(states.values())).shape[1]
    found = Statistics(dim, ClosedForm(**policy), READ_WITH)
    for name, own in states.items():
        found.add(name, own, torch.full((len(own),), level))
    return found
