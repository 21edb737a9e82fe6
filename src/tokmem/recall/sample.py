"""Choosing the next token: greedy, or sampled with temperature and nucleus."""

from __future__ import annotations

import torch
from torch import Tensor


def choose(scores: Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> Tensor:
    """(B, W) logits -> (B,) indices.

    Args:
        scores: logits; -inf where a token is not allowed.
        temperature: 0 is greedy.
        top_p: keep the smallest set of tokens whose probability reaches this.
        generator: source of randomness, on the CPU.
    """
    if temperature == 0:
        return scores.argmax(-1)
    ranked, order = (scores / temperature).sort(-1, descending=True)
    probabilities = ranked.softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    probabilities = probabilities.masked_fill(outside, 0).cpu()
    pick = torch.multinomial(probabilities, 1, generator=generator).to(order.device)
    return order.gather(-1, pick)[:, 0]
