"""Chooses the next token: greedily, or by sampling with temperature and nucleus; and penalises repetition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

_COLDEST, _HOTTEST = 1e-30, 1e30


def choose(parts: Sequence[Tensor], temperature: float, top_p: float, draws: Sequence[float]) -> Tensor:
    """Chooses a token for each row from logits that are split over several tensors.

    Args:
        parts: logits (B, W_1), (B, W_2), ..., none of zero width; -inf for tokens that are not allowed.
        temperature: 0 is greedy, and so is less than 1e-30; among equal logits the first wins. More
            than 1e30 counts as 1e30.
        top_p: sampling keeps the smallest set of tokens with at least this probability.
        draws: (B,) random numbers from [0, 1), one for each row; greedy decoding reads none.

    Returns:
        (B,) indices into the concatenation (B, W_1 + W_2 + ...) of the parts.
    """
    if temperature < _COLDEST:  # scores over it might overflow
        return _best(parts)
    scores = torch.cat([part.float() for part in parts], -1)
    ranked, order = (scores / min(temperature, _HOTTEST)).sort(-1, descending=True)
    probabilities = ranked.softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    cumulative = probabilities.masked_fill(outside, 0).cumsum(-1)
    drawn = torch.tensor(draws, device=scores.device)[:, None] * cumulative[:, -1:]
    # The first token whose sum exceeds the draw; rounding may put the draw past the last token.
    place = torch.searchsorted(cumulative, drawn, right=True).clamp(max=scores.shape[-1] - 1)
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    return order.gather(-1, place.minimum(last))[:, 0]


def _best(parts: Sequence[Tensor]) -> Tensor:
    # `max`, because `argmax` is several times slower for bfloat16 on a CPU.
    best, pick = parts[0].max(-1)
    offset = parts[0].shape[-1]
    for part in parts[1:]:
        value, place = part.max(-1)
        pick = torch.where(value > best, place + offset, pick)
        best = torch.maximum(best.to(value.dtype), value)
        offset += part.shape[-1]
    return pick


def penalised(logits: Tensor, written: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Lowers the logits of tokens that rows have written already, as in CTRL (arXiv 1909.05858).

        l -> l / penalty where l > 0, else l * penalty

    Args:
        logits: (B, V); not changed.
        written: for each of the B rows the ids that it has written. Ids from V on are memory tokens: they are
            passed over.
        penalty: above 1; a token that was written twice is penalised once.

    Returns:
        (B, V) the logits, in the same dtype.
    """
    lower, size = RepetitionPenaltyLogitsProcessor(penalty), logits.shape[-1]
    own = [[token for token in ids if token < size] for ids in written]
    return torch.stack(
        [
            lower(torch.tensor([ids], dtype=torch.long, device=logits.device), row[None])[0]
            for ids, row in zip(own, logits, strict=True)
        ]
    )
