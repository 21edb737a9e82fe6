"""Compares geometry with numpy, from the definitions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tokmem.errors import DataError
from tokmem.eval.geometry import cluster, cluster_order, cosines, neighbours, paired_cosines, project


@pytest.fixture
def rows() -> torch.Tensor:
    """Twelve rows in three clusters, dealt out in turn: row i is of cluster i % 3."""
    centres = torch.randn(3, 16)
    return centres[torch.arange(12) % 3] + 0.15 * torch.randn(12, 16)


def numpy_cosines(rows: torch.Tensor) -> np.ndarray:
    a = rows.double().numpy()
    return (a @ a.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(a, axis=1))


def test_cosines_and_neighbours(rows: torch.Tensor) -> None:
    expected = numpy_cosines(rows)
    similarity = cosines(rows)
    np.testing.assert_allclose(similarity, expected, atol=1e-6)
    for row, near in enumerate(neighbours(similarity, 4)):
        ranked = [other for other in np.argsort(-expected[row]) if other != row][:4]
        assert [other for other, _ in near] == ranked
        np.testing.assert_allclose([value for _, value in near], expected[row][ranked], atol=1e-6)
    assert [len(near) for near in neighbours(similarity, 50)] == [11] * 12
    assert neighbours(cosines(rows[:1]), 3) == [[]]


def test_rows_without_length_are_like_nothing() -> None:
    assert cosines(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_paired_cosines(rows: torch.Tensor) -> None:
    other = torch.randn(12, 16)
    expected = np.diag(numpy_cosines(torch.cat([rows, other])), 12)
    np.testing.assert_allclose(paired_cosines(rows, other), expected, atol=1e-6)
    with pytest.raises(DataError, match="equal shapes"):
        paired_cosines(rows, other[:3])


def slow_clusters(distance: np.ndarray) -> list[tuple[frozenset[int], float]]:
    """Average linkage from its definition: at each merge the members of the new cluster, and the distance."""
    clusters, made = [frozenset([row]) for row in range(len(distance))], []
    while len(clusters) > 1:
        pairs = [(a, b) for i, a in enumerate(clusters) for b in clusters[i + 1 :]]
        means = [np.mean([distance[i, j] for i in a for j in b]) for a, b in pairs]
        a, b = pairs[int(np.argmin(means))]
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
        made.append((a | b, float(min(means))))
    return made


def test_clustering_is_average_linkage() -> None:
    rows = torch.randn(14, 6)
    members = [frozenset([row]) for row in range(14)]
    made = []
    for left, right, distance in cluster(cosines(rows)):
        members.append(members[left] | members[right])
        made.append((members[-1], distance))
    expected = slow_clusters(1 - numpy_cosines(rows))
    assert [group for group, _ in made] == [group for group, _ in expected]
    np.testing.assert_allclose([d for _, d in made], [d for _, d in expected], atol=1e-6)


def test_order_groups_planted_clusters(rows: torch.Tensor) -> None:
    similarity = cosines(rows)
    order = cluster_order(similarity, cluster(similarity))
    assert sorted(order) == list(range(12))
    kinds = [row % 3 for row in order]
    assert sum(a != b for a, b in pairwise(kinds)) == 2, "three runs of one kind each"
    assert cluster_order(cosines(rows[:1]), []) == [0]


def test_projection_is_the_principal_components(rows: torch.Tensor) -> None:
    points, explained = project(rows)
    centred = rows.double().numpy() - rows.double().numpy().mean(0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    expected = centred @ axes[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(points.numpy()), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose(explained, (variances / variances.sum())[::-1][:2], atol=1e-6)


def test_projection_does_not_turn_with_the_signs_of_the_decomposition(rows: torch.Tensor) -> None:
    shuffled = torch.randperm(12)
    torch.testing.assert_close(project(rows[shuffled]).points, project(rows).points[shuffled])


def test_projection_of_one_row_and_of_equal_rows_is_a_point() -> None:
    assert project(torch.ones(1, 4)).points.tolist() == [[0, 0]]
    assert project(torch.ones(3, 1)).explained == (0, 0)


@pytest.mark.parametrize("bad", [torch.zeros(0, 4), torch.zeros(4), torch.full((2, 2), torch.nan)])
def test_rows_that_cannot_be_measured_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(DataError, match="finite"):
        cosines(bad)
