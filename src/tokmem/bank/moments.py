"""Count, sum and scatter of a set of states, which may come in parts and in any order."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Count, sum and scatter of states, in float64.

    Args:
        dim: d, the numbers in a state.

    Attributes:
        count: number of states.
        total: (d,) their sum.
        scatter: (d, d) sum of (h - mean)(h - mean)^T.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.total = torch.zeros(dim, dtype=torch.float64)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @classmethod
    def of(cls, states: Tensor) -> Moments:
        """The moments of (n, d) states."""
        own = cls(states.shape[1])
        if len(states):
            states = states.detach().cpu().double()
            centred = states - states.mean(0)
            own.count, own.total, own.scatter = len(states), states.sum(0), centred.T @ centred
        return own

    @property
    def mean(self) -> Tensor:
        """(d,) mean; not a number if there are no states."""
        return self.total / self.count

    def plus(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan, Golub and LeVeque 1979).

        The scatter is the sum of both, and n k / (n + k) (m - m')(m - m')^T for counts n, k and means m, m'.
        """
        both = Moments(len(self.total))
        both.count, both.total = self.count + other.count, self.total + other.total
        both.scatter = self.scatter + other.scatter
        if self.count and other.count:
            gap = self.mean - other.mean
            both.scatter += self.count * other.count / both.count * torch.outer(gap, gap)
        return both

    @property
    def covariance(self) -> Tensor:
        """(d, d) scatter over the number of states."""
        return self.scatter / max(self.count, 1)
