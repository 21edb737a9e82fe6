"""Next-token cross-entropy on memory and response positions (Eq. 3), without a full logits matrix.

    -log p(y | h) = logaddexp(LSE_v(h . w_v), LSE_m(h . a_m)) - (h . w_y  or  h . a_y)

w_v: the backbone's rows, those that a memory token replaces left out; a_m: the addresses.

Letters: N supervised positions, d hidden size, V rows of the backbone, P procedures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tokmem.errors import TrainingError
from tokmem.model.layers import MemoryHead

# Most logits held at once, and most of them in float32.
MAX_LOGITS, MAX_FLOATS = 1 << 23, 1 << 20


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


class _TokenLosses(torch.autograd.Function):
    """(N, d) states, (N, P) memory logits, (N,) target ids -> (N,) losses.

    A loss depends on its own state alone, so its gradient is a row that can be had in the forward pass, where
    the logits are at hand: chunk by chunk, they are dropped before the next, and none are computed twice.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, memory: Tensor, targets: Tensor, head: MemoryHead) -> Tensor:
        graph, size = ctx.needs_input_grad[0], max(1, MAX_LOGITS // head.model_rows)
        index, is_memory = _find(head, targets)
        memory_sum = memory.logsumexp(-1)
        words = targets.masked_fill(is_memory, -1)
        chunks = [
            _frozen_part(head, *parts, graph=graph)
            for parts in zip(*(x.split(size) for x in (hidden, memory_sum, words)), strict=True)
        ]
        normaliser, picked, slope = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        memory_slope = memory.sub(normaliser[:, None]).exp_()
        if memory.shape[1]:
            place = index[:, None]
            picked = torch.where(is_memory, memory.gather(1, place)[:, 0], picked)
            memory_slope.scatter_add_(1, place, -is_memory[:, None].float())
        ctx.save_for_backward(slope, memory_slope)
        return normaliser - picked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        slope, memory_slope = ctx.saved_tensors
        constant = not ctx.needs_input_grad[0]  # states without a graph: only the memory tokens learn
        states = None if constant else (upstream[:, None] * slope).to(slope.dtype)
        return states, upstream[:, None] * memory_slope, None, None


def _frozen_part(
    head: MemoryHead, hidden: Tensor, memory_sum: Tensor, words: Tensor, *, graph: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What the frozen rows contribute.

    Args:
        head: of the model with its bank.
        hidden: (n, d) states.
        memory_sum: (n,) log-sum-exp of the memory logits.
        words: (n,) target ids, -1 where the target is a memory token.
        graph: whether the slope is wanted.

    Returns:
        (n,) log-sum-exp over all logits, (n,) target logit, (n, d) gradient of the first less the second.
    """
    with torch.set_grad_enabled(graph):
        hidden = hidden.detach().requires_grad_(graph)
        logits = head.native(hidden)
    replaced = head.replaced(logits.shape[-1])
    slopes = torch.empty_like(logits) if graph else None
    normalisers, picks = [], []
    size = max(1, MAX_FLOATS // logits.shape[-1])
    for start in range(0, len(logits), size):
        part = slice(start, start + size)
        block = logits.detach()[part].to(torch.float32, copy=True).index_fill_(-1, replaced, -torch.inf)
        index = words[part].clamp(min=0)[:, None]
        picks.append(block.gather(-1, index)[:, 0])
        # By hand, for the exponentials are wanted twice and take most of the time.
        top = block.amax(-1, keepdim=True)
        own = block.sub_(top).exp_().sum(-1).log() + top[:, 0]
        normalisers.append(torch.logaddexp(own, memory_sum[part]))
        if slopes is not None:
            block.mul_((top - normalisers[-1][:, None]).exp())
            slopes[part] = block.scatter_add_(-1, index, -(words[part] >= 0).float()[:, None])
    slope = hidden[:0] if slopes is None else torch.autograd.grad(logits, hidden, slopes)[0]
    return torch.cat(normalisers), torch.cat(picks), slope


def _find(head: MemoryHead, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) procedure indices, and whether a target is a memory token."""
    if len(head.bank) == 0:
        return torch.zeros_like(targets), torch.zeros_like(targets, dtype=torch.bool)
    return head.bank.find_head(targets)


def memory_loss(head: MemoryHead, hidden: Tensor, targets: Tensor) -> LossSum:
    """Sums Eq. 3 over supervised positions.

    Args:
        head: of the model with its bank.
        hidden: (N, d) state before each target.
        targets: (N,) token ids.

    Raises:
        TrainingError: the output head itself trains; no gradient would reach it.
    """
    if head.trains:
        raise TrainingError(
            "an output head with parameters that train",
            "a frozen one: the loss gives gradients to states and memory tokens alone",
            "leave the output head out of what is adapted",
        )
    losses: Tensor = _TokenLosses.apply(hidden, head.memory(hidden), targets, head)  # type: ignore[no-untyped-call]
    is_memory = _find(head, targets)[1]
    return LossSum(
        losses.sum(), losses.detach().masked_fill(~is_memory, 0).sum(), len(targets), is_memory.sum()
    )
