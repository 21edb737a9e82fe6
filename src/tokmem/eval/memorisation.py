"""What a memory holds: tokens recovered, information gained, and how far its embeddings moved.

Letters: K embeddings, d dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

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
