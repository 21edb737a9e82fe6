"""Computes starting rows of new memory tokens from the pretrained embedding weight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from tokmem.errors import BankError

Start = Literal["mean", "description", "sampled", "orthogonal"]


def typical_norm(weight: Tensor) -> float:
    """The median norm of the trained rows of a (V, d) weight; reserved rows are often near zero."""
    norms = _norms(weight)
    trained = norms[norms > 0.1 * norms.median()]
    return float((trained if len(trained) else norms).median())


def _norms(weight: Tensor) -> Tensor:
    """(V, d) -> (V,) float32 norms, part by part: a float32 copy of the weight could take gigabytes."""
    return torch.cat([rows.float().norm(dim=-1) for rows in weight.detach().split(4096)])


def start_rows(
    start: Start,
    weight: Tensor,
    count: int,
    *,
    generator: torch.Generator,
    descriptions: Sequence[Sequence[int]] = (),
    norm_match: bool = True,
) -> Tensor:
    """Computes the starting rows of new memory tokens.

    Args:
        start: ``mean`` of all pretrained rows (the paper), mean of the token rows of the ``description``, one
            ``sampled`` pretrained row for each, or ``orthogonal`` random directions.
        weight: (V, d) pretrained weight of the embedding or of the output head.
        count: number of rows.
        generator: source of randomness for ``sampled`` and ``orthogonal``.
        descriptions: for ``description``, the token ids of each procedure's description; an empty one takes
            the mean of all rows.
        norm_match: rescale each row to the typical norm of the pretrained rows. The mean of many rows is far
            shorter than each of them.

    Returns:
        (count, d) float32 rows.
    """
    if start not in get_args(Start):
        raise BankError(f"start {start!r}", f"one of {', '.join(get_args(Start))}")
    weight = weight.detach()
    mean = weight.mean(0, dtype=torch.float32)
    if start == "mean":
        rows = mean.expand(count, -1).clone()
    elif start == "sampled":
        rows = weight[_trained_rows(weight, count, generator)].float()
    elif start == "orthogonal":
        rows = _orthogonal(count, weight.shape[1], generator).to(weight.device)
    else:
        if len(descriptions) != count:
            raise BankError(f"{len(descriptions)} descriptions for {count} rows", "one description a row")
        means = [weight[list(ids)].float().mean(0) if len(ids) else mean for ids in descriptions]
        rows = torch.stack(means) if means else mean.new_zeros(0, weight.shape[1])
    if norm_match:
        rows = rows * (typical_norm(weight) / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    return rows


def wide_rows(
    start: Start,
    weight: Tensor,
    descriptions: Sequence[Sequence[int]],
    width: int,
    *,
    generator: torch.Generator,
) -> Tensor:
    """Computes the starting rows (P, width, d), float32, of procedures `width` memory tokens wide.

    For ``description`` each row is the mean of its own part of the description: equal rows would stay alike.

    Args:
        start: as in `start_rows`.
        weight: (V, d) pretrained weight.
        descriptions: token ids of the descriptions of P procedures.
        width: number of memory tokens of a procedure.
        generator: source of randomness.
    """
    each = [part for ids in descriptions for part in _parts(ids, width)]
    rows = start_rows(start, weight, len(each), generator=generator, descriptions=each)
    return rows.view(len(descriptions), width, rows.shape[-1])


def _parts(ids: Sequence[int], width: int) -> list[Sequence[int]]:
    """Cuts token ids into `width` parts in their order; a token stands in several parts if there are few."""
    cuts = [i * len(ids) // width for i in range(width + 1)]
    return [ids[first : max(last, first + 1)] for first, last in pairwise(cuts)]


def _trained_rows(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    norms = _norms(weight)
    usable = (norms > 0.1 * norms.median()).nonzero().squeeze(1)
    picks = torch.randint(len(usable), (count,), generator=generator)
    return usable[picks.to(usable.device)]


def _orthogonal(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Draws blocks of at most `dim` orthonormal rows; more than `dim` rows cannot all be orthogonal."""
    blocks = []
    while count > 0:
        q, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
        blocks.append(q[: min(count, dim)])
        count -= dim
    return torch.cat(blocks) if blocks else torch.zeros(0, dim)
