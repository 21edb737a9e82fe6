"""Routing: chooses the memory token for a query (Eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tokmem.bank.addresses import Gate
from tokmem.records import Choice, Route


def route(frozen: Tensor, memory: Tensor, names: Sequence[str], top_k: int = 5) -> list[Route]:
    """Ranks the procedures of each query.

    P(m_i | q) is proportional to exp(h . a_i), normalised over the memory tokens.

    Args:
        frozen: (B, V) logits of the backbone after each query; replaced rows are -inf.
        memory: (B, P) logits of the memory tokens after each query.
        names: the P procedures, in slot order.
        top_k: number of candidates to keep.

    Returns:
        B routes; a query is `rejected` if an ordinary token scores higher than every memory token.
    """
    probabilities, order = memory.softmax(-1).topk(min(top_k, len(names)))
    rejected = frozen.max(-1).values > memory.max(-1).values
    mass = torch.sigmoid(memory.logsumexp(-1) - frozen.logsumexp(-1))
    return [
        Route(tuple(Choice(names[i], p) for i, p in zip(row, ps, strict=True)), no, m)
        for row, ps, no, m in zip(
            order.tolist(), probabilities.tolist(), rejected.tolist(), mass.tolist(), strict=True
        )
    ]


def gated(routes: Sequence[Route], gate: Gate, hidden: Tensor) -> list[Route]:
    """The routes of queries with their fits, by which they are rejected.

    Args:
        routes: of B queries.
        gate: of the bank's statistics.
        hidden: (B, d) states after the queries.
    """
    fits = gate.fits(hidden).tolist()
    return [
        replace(its, fit=fit, rejected=fit < gate.least_fit) for its, fit in zip(routes, fits, strict=True)
    ]
