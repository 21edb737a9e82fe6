"""Richer routers route clouds of states; each differs from one row a task where it should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.routing import accuracy
from bench.routing_learners import Learner
from bench.routing_richer import RICHER, Quadratic, RandomFeatures, TwoMeans, _halves, richer_rows
from bench.routing_states import Read, TaskStates
from tests.bench.test_routing import tasks
from tokmem.seeds import generator


def task(name: str, states: torch.Tensor) -> TaskStates:
    """A task whose even states train and whose odd ones ask."""
    level = torch.zeros(len(states))
    read = Read(states, level, level)
    parts = (Read(states[i::2], level[i::2], level[i::2]) for i in range(2))
    return TaskStates(name, *parts, read[:0])


@pytest.mark.parametrize("make", [lambda: RandomFeatures(0.01), lambda: Quadratic(0.1), lambda: TwoMeans(5)])
def test_they_route_clouds(make: Callable[[], Learner]) -> None:
    learner, known = make(), tasks(12, train=20)
    learner.learn(known)
    assert accuracy(learner, known, known) > 80


def test_two_means_follow_a_task_of_two_clusters() -> None:
    """One task lies on both sides of the other, so that no line divides them."""
    draws = torch.randn(80, 4, generator=generator(0, "sides"))
    sides = torch.tensor([[9.0, 0, 0, 0], [-9.0, 0, 0, 0]]).repeat_interleave(2, 0).repeat(20, 1)
    both, middle = draws + sides, torch.randn(80, 4, generator=generator(1, "middle"))
    known = [task("both", both), task("middle", middle)]
    learner = TwoMeans(10)
    learner.learn(known)
    assert accuracy(learner, known, known) > 95


def test_a_quadratic_router_knows_widths() -> None:
    """Both tasks have one mean; one is wide."""
    narrow, wide = (scale * torch.randn(200, 4, generator=generator(0, "w", str(scale))) for scale in (1, 8))
    known = [task("narrow", narrow), task("wide", wide)]
    learner = Quadratic(0.9)
    learner.learn(known)
    assert accuracy(learner, known, known) > 80


def test_no_half_is_empty() -> None:
    assert [len(half) for half in _halves(torch.zeros(2, 3), 3)] == [1, 1]
    states = torch.tensor([[0.0], [0.1], [5.0]])
    assert sorted(len(half) for half in _halves(states, 3)) == [1, 2]


def test_every_router_has_a_row_for_each_size() -> None:
    rows = richer_rows(tasks(6), "query", (4, 6), (5, 10))
    assert len(rows) == len(RICHER) * 4
    assert {(row["tasks"], row["examples"]) for row in rows} == {(4, 5), (4, 10), (6, 5), (6, 10)}
