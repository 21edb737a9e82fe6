"""Next-token cross-entropy on memory and response positions (Eq. 3), without a full logits matrix.

    -log p(y | h) = logaddexp(LSE_v(h . w_v), LSE_m(h . a_m)) - (h . w_y  or  h . a_y)

w_v: the backbone's rows, without those that a memory token replaces; a_m: the addresses.

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

# Most logits in memory at once. On a CPU they stay in its caches, with their rows of the head, until their
# gradient has been computed.
MAX_LOGITS, CPU_LOGITS = 1 << 23, 1 << 20
# Most states that go through the head together, so that it is read once for them; fewest rows of a part.
MOST_STATES, LEAST_PART = 1024, 256


@dataclass(frozen=True)
class LossSum:
    """Summed losses and their counts, still on the device; the caller computes means.

    Attributes:
        total: () sum over all supervised positions, with graph.
        memory: () the part of `total` at memory positions, detached.
        count: number of supervised positions.
        memory_count: () number of memory positions among them.
    """

    total: Tensor
    memory: Tensor
    count: int
    memory_count: Tensor


class _TokenLosses(torch.autograd.Function):
    """(N, d) states, (N, P) memory logits, (N,) target ids -> (N,) losses.

    A loss depends only on its own state. So the forward pass, which has the logits, computes the gradient
    too: each part of the logits is dropped before the next one, and none is computed twice.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, memory: Tensor, targets: Tensor, head: MemoryHead) -> Tensor:
        graph = ctx.needs_input_grad[0]
        size = MOST_STATES if head.divides else max(1, MAX_LOGITS // head.model_rows)
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
        ctx.save_for_backward(slope.to(hidden.dtype), memory_slope)
        return normaliser - picked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        slope, memory_slope = ctx.saved_tensors
        constant = not ctx.needs_input_grad[0]  # states without a graph: only memory tokens learn
        states = None if constant else (upstream[:, None] * slope).to(slope.dtype)
        return states, upstream[:, None] * memory_slope, None, None


def _frozen_part(
    head: MemoryHead, hidden: Tensor, memory_sum: Tensor, words: Tensor, *, graph: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The contribution of the frozen rows, computed for one part of the vocabulary after the other.

    Exponentials are taken relative to the greatest logit so far. If a later part has a greater logit, the
    sums are scaled down.

    Args:
        head: the output head with the bank.
        hidden: (n, d) states.
        memory_sum: (n,) log-sum-exp of the memory logits.
        words: (n,) target ids; -1 if the target is a memory token.
        graph: whether to compute the gradient.

    Returns:
        (n,) log-sum-exp over all logits; (n,) target logit; (n, d) gradient of the first minus the second.
    """
    hidden = hidden.detach().requires_grad_(graph)
    top = torch.full_like(memory_sum, torch.finfo(torch.float32).min)[:, None]
    total, picked = torch.zeros_like(top), torch.zeros_like(top)
    slope = torch.zeros(hidden.shape if graph else (0, hidden.shape[1]), device=hidden.device)
    most = CPU_LOGITS if hidden.device.type == "cpu" else MAX_LOGITS
    for rows in head.parts(max(LEAST_PART, most // max(1, len(hidden)))):
        with torch.set_grad_enabled(graph):
            logits = head.part(hidden, rows)
        start, stop = rows.start, rows.start + logits.shape[1]
        block = logits.detach().to(torch.float32, copy=True)
        block.index_fill_(-1, head.replaced(stop, start) - start, -torch.inf)
        index = (words - start).clamp(0, stop - start - 1)[:, None]
        here = ((words >= start) & (words < stop))[:, None]
        picked = torch.where(here, block.gather(-1, index), picked)
        before, top = top, torch.maximum(top, block.amax(-1, keepdim=True))
        fade = (before - top).exp_()
        total = total * fade + block.sub_(top).exp_().sum(-1, keepdim=True)
        if graph:
            # The target's own share is added last: p - 1 would lose its digits in half precision.
            block.scatter_(-1, index, block.gather(-1, index).masked_fill_(here, 0))
            slope.mul_(fade).add_(torch.autograd.grad(logits, hidden, block.to(logits.dtype))[0])
    normaliser = torch.logaddexp(top + total.log(), memory_sum[:, None])
    if graph:
        own = (picked - normaliser).expm1().masked_fill_(words[:, None] < 0, 0)
        slope.mul_((top - normaliser).exp()).add_(_own_slope(head, hidden, words, own))
    return normaliser[:, 0], picked[:, 0], slope


def _own_slope(head: MemoryHead, hidden: Tensor, words: Tensor, upstream: Tensor) -> Tensor:
    """(n, d) gradient of the states through the logits of their targets; `upstream` is (n, 1)."""
    with torch.enable_grad():
        logits = head.part(hidden, words.clamp(min=0)).diagonal()
    return torch.autograd.grad(logits, hidden, upstream[:, 0].to(logits.dtype))[0]


def _find(head: MemoryHead, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) procedure indices, and (N,) whether each target is a memory token."""
    if len(head.bank) == 0:
        return torch.zeros_like(targets), torch.zeros_like(targets, dtype=torch.bool)
    return head.bank.find_head(targets)


def memory_loss(head: MemoryHead, hidden: Tensor, targets: Tensor) -> LossSum:
    """Sums Eq. 3 over supervised positions; takes the arguments of `token_losses`.

    Raises:
        TrainingError: a parameter of the output head trains.
    """
    losses = token_losses(head, hidden, targets)
    is_memory = _find(head, targets)[1]
    return LossSum(
        losses.sum(), losses.detach().masked_fill(~is_memory, 0).sum(), len(targets), is_memory.sum()
    )


def token_losses(head: MemoryHead, hidden: Tensor, targets: Tensor) -> Tensor:
    """Eq. 3 for each position: (N,) negative log-likelihoods, with graph.

    Args:
        head: the output head with the bank.
        hidden: (N, d) state before each target.
        targets: (N,) token ids.

    Raises:
        TrainingError: a parameter of the output head trains; no gradient would reach it.
    """
    check_frozen(head)
    losses: Tensor = _TokenLosses.apply(hidden, head.memory(hidden), targets, head)  # type: ignore[no-untyped-call]
    return losses


def check_frozen(head: MemoryHead) -> None:
    """Refuses an output head that trains: these losses would give it no gradient.

    Raises:
        TrainingError: a parameter of the head trains.
    """
    if head.trains:
        raise TrainingError(
            "an output head with parameters that train",
            "a frozen one: the loss gives gradients to states and memory tokens alone",
            "leave the output head out of what is adapted",
        )
