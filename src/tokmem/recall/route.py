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
        B routes; a query is `rejected` if no memory token scores higher than every ordinary token. Of equal
        scores the first counts, as in writing.
    """
    order = _ranked(memory, min(top_k, len(names)))
    probabilities = memory.softmax(-1).gather(-1, order)
    rejected = frozen.max(-1).values >= memory.max(-1).values
    mass = torch.sigmoid(memory.logsumexp(-1) - frozen.logsumexp(-1))
    return [
        Route(tuple(Choice(names[i], p) for i, p in zip(row, ps, strict=True)), no, m)
        for row, ps, no, m in zip(
            order.tolist(), probabilities.tolist(), rejected.tolist(), mass.tolist(), strict=True
        )
    ]


def _ranked(scores: Tensor, count: int) -> Tensor:
    """The places (B, count) of the highest of (B, P) scores; of equal ones the first."""
    highest, places = scores.topk(min(count + 1, scores.shape[-1]))
    if (highest[:, 1:] == highest[:, :-1]).any():  # among equals `topk` chooses as it likes
        places = scores.sort(stable=True, dim=-1, descending=True).indices
    return places[:, :count]


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
