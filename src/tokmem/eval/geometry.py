"""The geometry of a bank's rows: cosines, clusters, neighbours, norms, a view in two dimensions.

Letters: P procedures, d the backbone's hidden size. A row of length 0 has cosine 0 with every other row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from tokmem.errors import DataError


class Merge(NamedTuple):
    """Two clusters that become one; merge i makes cluster P + i, and cluster j < P is row j alone."""

    left: int
    right: int
    distance: float


class Projection(NamedTuple):
    """Rows in two dimensions.

    Attributes:
        points: (P, 2) coordinates along the first two principal components.
        explained: share of the variance along each.
    """

    points: Tensor
    explained: tuple[float, float]


def cosines(rows: Tensor) -> Tensor:
    """Returns the (P, P) cosine similarities of rows (P, d)."""
    unit = normalize(_checked(rows), dim=1)
    return (unit @ unit.T).clamp(-1, 1)


def paired_cosines(left: Tensor, right: Tensor) -> Tensor:
    """Returns the (P,) cosines of rows (P, d) with the same rows of another table: addresses with steering.

    Raises:
        DataError: the shapes differ.
    """
    if left.shape != right.shape:
        raise DataError(f"rows {tuple(left.shape)} and {tuple(right.shape)}", "equal shapes")
    return cosine_similarity(_checked(left), _checked(right), dim=1)


def neighbours(similarity: Tensor, k: int) -> list[list[tuple[int, float]]]:
    """Returns the k nearest other rows of each row, or all of them, with their similarity; nearest first.

    Args:
        similarity: (P, P), from `cosines`.
        k: how many.
    """
    others = similarity.clone().fill_diagonal_(-torch.inf)
    values, places = others.topk(max(0, min(k, len(others) - 1)), dim=1)
    pairs = zip(places.tolist(), values.tolist(), strict=True)
    return [list(zip(near, near_values, strict=True)) for near, near_values in pairs]


def cluster(similarity: Tensor) -> list[Merge]:
    """Clusters rows hierarchically with average linkage: it merges the two closest clusters again and again.

    The distance of two rows is 1 - similarity; the distance of two clusters is the mean over their pairs of
    rows.

    Args:
        similarity: (P, P), from `cosines`.

    Returns:
        P - 1 merges, closest first.
    """
    count = len(similarity)
    distance = (1 - similarity.double()).fill_diagonal_(torch.inf)
    sizes, labels, merges = torch.ones(count, dtype=torch.double), list(range(count)), []
    for step in range(count - 1):
        i, j = divmod(int(distance.argmin()), count)
        merges.append(Merge(labels[i], labels[j], float(distance[i, j])))
        mean = (sizes[i] * distance[i] + sizes[j] * distance[j]) / (sizes[i] + sizes[j])
        mean[i] = torch.inf
        distance[i], distance[:, i] = mean, mean
        distance[j], distance[:, j] = torch.inf, torch.inf
        sizes[i] += sizes[j]
        labels[i] = count + step
    return merges


def cluster_order(similarity: Tensor, merges: Sequence[Merge]) -> list[int]:
    """Orders rows so that every cluster stands together; each merge is turned so that similar ends meet.

    Args:
        similarity: (P, P), from `cosines`.
        merges: from `cluster`.
    """
    members: list[list[int]] = [[row] for row in range(len(similarity))]
    for left, right, _ in merges:
        a, b = members[left], members[right]
        turns = ((a, b), (a[::-1], b), (a, b[::-1]), (a[::-1], b[::-1]))
        first, second = max(turns, key=lambda turn: float(similarity[turn[0][-1], turn[1][0]]))
        members.append(first + second)
    return members[-1]


def project(rows: Tensor) -> Projection:
    """Computes the principal components of rows (P, d) by SVD of the centred rows.

    The largest weight of each component is made positive, so equal rows give equal pictures.
    """
    centred = _checked(rows).double()
    centred = centred - centred.mean(0)
    left, scale, right = torch.linalg.svd(centred, full_matrices=False)
    signs = right.gather(1, right.abs().argmax(1, keepdim=True)).sign().squeeze(1)
    signs[signs == 0] = 1
    points = torch.zeros(len(rows), 2, dtype=torch.double)
    kept = min(2, len(scale))
    points[:, :kept] = (left * scale * signs)[:, :kept]
    variances = scale.square()
    shares = (variances / variances.sum().clamp_min(torch.finfo(torch.double).tiny)).tolist()
    first, second = [*shares, 0.0, 0.0][:2]
    return Projection(points, (first, second))


def _checked(rows: Tensor) -> Tensor:
    if rows.ndim != 2 or rows.shape[0] == 0 or not rows.isfinite().all():
        raise DataError(f"rows of shape {tuple(rows.shape)}, or not finite", "at least one row, all finite")
    return rows.detach().float().cpu()
