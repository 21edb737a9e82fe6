"""Rescales new rows to the mean norm of old rows (Eqs. 5-6)."""

from __future__ import annotations

from torch import Tensor


def renorm(new: Tensor, old: Tensor, eps: float = 1e-8) -> Tensor:
    """Rescales new rows to the mean norm of the rows learned in earlier stages.

    n = mean_j ||old_j||, new_i <- new_i * n / (||new_i|| + eps). Without old rows it changes nothing.

    Args:
        new: (N, d) rows of the current stage.
        old: (F, d) rows of earlier stages; F may be 0.
        eps: prevents a division by zero.

    Returns:
        (N, d) rescaled rows; `new` itself if F is 0.
    """
    if old.shape[0] == 0 or new.shape[0] == 0:
        return new
    target = old.norm(dim=-1).mean()
    return new * (target / (new.norm(dim=-1, keepdim=True) + eps))
