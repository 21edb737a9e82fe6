"""What a memory holds: tokens recovered, information gained, and how far its embeddings moved.

Letters: K embeddings, d dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from tokmem.errors import DataError
from tokmem.eval.geometry import paired_cosines
from tokmem.eval.perplexity import TokenTally


class Drift(NamedTuple):
    """How far embeddings moved from their start, as means over K.

    Attributes:
        norm_start: norm at the start.
        norm: norm now.
        cosine: cosine with the start.
        angle: angle between start and now, in degrees.
    """

    norm_start: float
    norm: float
    cosine: float
    angle: float


def recovered(wanted: Sequence[int], written: Sequence[int]) -> int:
    """Counts the tokens that are right before the first wrong or missing one."""
    pairs = enumerate(zip(wanted, written, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(wanted), len(written)))


def bits_gained(before: TokenTally, after: TokenTally) -> float:
    """Returns the information that a model gained about the same tokens, in bits: the fall of their log-loss.

    Raises:
        DataError: the tallies have different numbers of tokens.
    """
    if before.tokens != after.tokens:
        raise DataError(f"tallies of {before.tokens} and {after.tokens} tokens", "tallies of the same tokens")
    return (before.nll - after.nll) / math.log(2)


def drift(start: Tensor, rows: Tensor) -> Drift:
    """Compares embeddings (K, d) with their start (K, d).

    Raises:
        DataError: the shapes differ.
    """
    cosines = paired_cosines(start, rows).clamp(-1, 1)
    angles = cosines.double().arccos() * (180 / math.pi)
    norms = [float(one.float().norm(dim=1).mean()) for one in (start, rows)]
    return Drift(norms[0], norms[1], float(cosines.mean()), float(angles.mean()))


def memory_scores(
    wanted: Sequence[Sequence[int]],
    written: Sequence[Sequence[int]],
    tallies: tuple[TokenTally, TokenTally],
    rows: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    """Scores of a memory that holds sequences of tokens.

    Args:
        wanted: the sequences.
        written: what was written for each.
        tallies: of the sequences, without memory and with it.
        rows: (K, d) embeddings, at the start and now.
    """
    right = [recovered(one, other) for one, other in zip(wanted, written, strict=True)]
    whole = sum(count == len(one) for count, one in zip(right, wanted, strict=True))
    (before, after), bits = tallies, bits_gained(*tallies)
    return {
        "tokens": after.tokens,
        "perplexity": after.perplexity,
        "untrained_perplexity": before.perplexity,
        "token_accuracy": after.accuracy,
        "recovered_sequences": 100.0 * whole / len(wanted),
        "recovered_tokens": sum(right),
        "bits_gained": bits,
        "bits_per_embedding": bits / len(rows[1]),
        **drift(*rows)._asdict(),
    }
