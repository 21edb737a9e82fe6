"""Next-token cross-entropy on memory and response positions (Eq. 3), without a full logits matrix.

    -log p(y | h) = logaddexp(LSE_v(h . w_v), LSE_m(h . a_m)) - (h . w_y  or  h . a_y)

w_v: the backbone's rows, those that a memory token replaces left out; a_m: the addresses.

Letters: N supervised positions, d hidden size, V rows of the backbone, P procedures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tokmem.model.layers import MemoryHead

# Most logits held at once; longer inputs go chunk by chunk, recomputed in the backward pass.
MAX_LOGITS = 1 << 26


@dataclass(frozen=True)
class LossSum:
    """Summed losses and their counts, still on the device; means are the caller's.

    Attributes:
        total: sum over all supervised positions, with graph.
        memory: the part of `total` at memory positions, detached.
        count: supervised positions.
        memory_count: memory positions among them.
    """

    total: Tensor
    memory: Tensor
    count: int
    memory_count: Tensor


def token_losses(head: MemoryHead, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, d) states and (N,) target ids -> (N,) negative log-likelihoods, (N,) whether of a memory token."""
    frozen, memory = head.frozen(hidden), head.memory(hidden)
    replaced = head.replaced(frozen.shape[-1])
    if len(replaced):
        frozen = frozen.index_fill(-1, replaced, -torch.inf)
    target = frozen.gather(-1, targets.clamp(max=frozen.shape[-1] - 1)[:, None])[:, 0]
    normaliser = frozen.logsumexp(-1)
    if memory.shape[-1] == 0:
        return normaliser - target, torch.zeros_like(targets, dtype=torch.bool)
    index, is_memory = head.bank.find_head(targets)
    target = torch.where(is_memory, memory.gather(-1, index[:, None])[:, 0], target)
    return torch.logaddexp(normaliser, memory.logsumexp(-1)) - target, is_memory


def memory_loss(head: MemoryHead, hidden: Tensor, targets: Tensor) -> LossSum:
    """Sums Eq. 3 over supervised positions.

    Args:
        head: of the model with its bank.
        hidden: (N, d) state before each target.
        targets: (N,) token ids.
    """
    size = max(1, MAX_LOGITS // int(head.model_rows))
    if len(targets) <= size:
        losses, is_memory = token_losses(head, hidden, targets)
    else:
        chunks = [
            checkpoint(token_losses, head, h, t, use_reentrant=False)
            for h, t in zip(hidden.split(size), targets.split(size), strict=True)
        ]
        losses, is_memory = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    memory = losses.detach()[is_memory].sum()
    return LossSum(losses.sum(), memory, len(targets), is_memory.sum())
