"""Distillation: memory tokens learn what a teacher predicts, where the teacher has read a text instead.

    loss = sum_i p_i (log p_i - log q_i) + p_rest (log p_rest - log q_rest)

p: the teacher's probabilities of its k best tokens and of all others together; q: those of the student. It is
a lower bound of the forward KL divergence, and equals it where k covers the vocabulary. Memory tokens have no
share in p, so the student learns not to write them inside a response. The position that predicts a memory
token is never taught by the teacher: Eq. 3 applies there, or nothing if addresses are computed.

On responses of the student itself the reverse divergence may stand instead, with p and q exchanged: it keeps
the student from what its teacher would not say. An anchor adds anchor * |r - r0|^2 / |r0|^2 for each target;
r are the steering rows, and r0 their start (arXiv 2506.14248).

Letters: N response positions, k tokens, d hidden size, V rows of the backbone, P procedures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tokmem.errors import TrainingError
from tokmem.model.layers import MemoryHead
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.bank_objective import BankObjective
from tokmem.train.loss import MAX_LOGITS, LossSum, check_frozen, memory_loss, token_losses
from tokmem.train.targets import Targets

Top = tuple[Tensor, Tensor, Tensor]  # (N, k) ids, (N, k) log-probabilities, (N,) log-probability of the rest


class DistilObjective(BankObjective):
    """The divergence from a teacher on responses, over the fresh rows of a bank.

    Args:
        lm: the frozen backbone and its bank.
        targets: what the teacher predicts, by example.
        hard: weight of the cross-entropy of the responses; 0 leaves it out.
        end: the token behind a response. It has cross-entropy only where the teacher expects it most, because
            a response that was cut does not end there. If None, every token has cross-entropy.
        anchor: weight of the pull of the fresh steering rows to `start`; 0 leaves it out.
        start: (S, d) the rows that they started from; needed beside an anchor.
        reverse: whether the reverse divergence is taken.
        options: those of `BankObjective`.
    """

    def __init__(
        self,
        lm: MemoryLM,
        *,
        targets: Targets,
        hard: float = 0.0,
        end: int | None = None,
        anchor: float = 0.0,
        start: Tensor | None = None,
        reverse: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(lm, **options)
        self.targets, self.hard, self.end, self.reverse = targets, hard, end, reverse
        self.anchor, self.start = anchor, start

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """Checks that the teacher has answered every example, and plans the prefixes.

        Raises:
            TrainingError: it has not, or its answer has another length; or as `BankObjective`.
        """
        super().begin(train, validation)
        for example in (*train, *validation):
            wanted, rows = self._taught(example).count(True), len(self.targets.rows(example.id))
            if wanted != rows:
                raise TrainingError(
                    f"example {example.id!r}: {rows} predictions of the teacher for {wanted} tokens",
                    "one for each token of the response",
                    "teach again",
                )

    def score(self, examples: Sequence[Encoded], hidden: Tensor, tokens: Tensor) -> LossSum:
        """The divergence on responses, with Eq. 3 where a memory token is to be predicted."""
        flags = torch.tensor([on for e in examples for on in self._taught(e)], device=hidden.device)
        taught, own = hidden[flags], memory_loss(self.lm.head, hidden[~flags], tokens[~flags])
        top = self.targets.of(examples, hidden.device)
        total = divergences(self.lm.head, taught, top, reverse=self.reverse).sum()
        if self.hard:
            losses = token_losses(self.lm.head, taught, tokens[flags])
            total = total + self.hard * losses[self._counted(tokens[flags], top[0])].sum()
        if self.anchor and self.start is not None:
            away = (self.lm.read.steering.fresh - self.start).square().sum() / self.start.square().sum()
            total = total + self.anchor * len(tokens) * away
        return LossSum(own.total + total, own.memory, len(tokens), own.memory_count)

    def _counted(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """(N,) whether a token has cross-entropy. An end has it only if it is the teacher's first choice."""
        if self.end is None:
            return torch.ones_like(tokens, dtype=torch.bool)
        return (tokens != self.end) | (ids[:, 0] == self.end)

    def _taught(self, example: Encoded) -> list[bool]:
        """For each supervised position whether it belongs to a response."""
        heads = {ids[0] for ids in self.lm.bank.memory.values()}
        return [i not in heads for i, on in zip(example.ids, example.supervised, strict=True) if on]

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """Also the targets."""
        facts, tensors = super().identity()
        own = [self.targets.ids, self.targets.logs, self.targets.rest]
        own += [] if self.start is None else [self.start]
        facts = {**facts, "hard": self.hard, "end": self.end, "anchor": self.anchor, "reverse": self.reverse}
        return facts, [*tensors, *own]


def divergences(head: MemoryHead, hidden: Tensor, top: Top, *, reverse: bool = False) -> Tensor:
    """The divergence at each position: (N,), with graph.

    Args:
        head: the output head with the bank.
        hidden: (N, d) states of the student.
        top: what the teacher predicts there.
        reverse: whether to take KL(q || p) in place of KL(p || q). Memory tokens count among the others.

    Raises:
        TrainingError: a parameter of the output head trains.
    """
    check_frozen(head)
    found: Tensor = _Divergences.apply(hidden, head.memory(hidden), head, reverse, *top)  # type: ignore[no-untyped-call]
    return found


class _Divergences(torch.autograd.Function):
    """(N, d) states, (N, P) memory logits -> (N,) divergences.

    The forward pass computes the gradient too, part by part, so that no (N, V) logits are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, memory: Tensor, head: MemoryHead, reverse: bool, *top: Tensor
    ) -> Tensor:
        size = max(1, MAX_LOGITS // head.model_rows)
        parts = [
            _part(head, reverse, *some)
            for some in zip(*(x.split(size) for x in (hidden, memory, *top)), strict=True)
        ]
        losses, slope, memory_slope = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.save_for_backward(slope, memory_slope)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        slope, memory_slope = ctx.saved_tensors
        states = (upstream[:, None] * slope).to(slope.dtype)
        return states, upstream[:, None] * memory_slope, None, None, None, None, None


def _part(
    head: MemoryHead,
    reverse: bool,
    hidden: Tensor,
    memory: Tensor,
    ids: Tensor,
    logs: Tensor,
    rest: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (n,) and their gradients by states (n, d) and by memory logits (n, P)."""
    leaves = hidden.detach().requires_grad_(), memory.detach().requires_grad_()
    with torch.enable_grad():
        logits = head.frozen(leaves[0]).index_fill(1, head.replaced(head.model_rows), -torch.inf)
        best, others = logits.gather(1, ids), logits.scatter(1, ids, -torch.inf).logsumexp(1)
        with_memory = torch.cat([others[:, None], leaves[1]], 1).logsumexp(1)
        whole = torch.cat([with_memory[:, None], best], 1).logsumexp(1, keepdim=True)
        own = torch.cat([best, (with_memory if reverse else others)[:, None]], 1) - whole
        taught = torch.cat([logs, rest[:, None]], 1)
        left, right = (own, taught) if reverse else (taught, own)
        losses = (left.exp() * (left - right)).sum(1)
    slope, memory_slope = torch.autograd.grad(losses, leaves, torch.ones_like(losses))
    return losses.detach(), slope, memory_slope
