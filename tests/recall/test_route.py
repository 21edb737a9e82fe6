from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tokmem.recall.route import route
from tokmem.recall.writer import Writer
from tokmem.records import Route

LOG = math.log


def test_probabilities_are_among_memory_tokens_and_mass_is_against_everything() -> None:
    frozen = torch.tensor([[LOG(6.0), LOG(2.0), -math.inf], [LOG(1.0), LOG(1.0), -math.inf]])
    memory = torch.tensor([[LOG(1.0), LOG(3.0)], [LOG(4.0), LOG(2.0)]])
    first, second = route(frozen, memory, ("a", "b"))
    assert [(c.procedure, pytest.approx(c.probability)) for c in first.choices] == [("b", 0.75), ("a", 0.25)]
    assert (first.procedure, first.rejected, first.memory_mass) == ("b", True, pytest.approx(4 / 12))
    assert (second.procedure, second.rejected, second.memory_mass) == ("a", False, pytest.approx(6 / 8))


def test_only_so_many_candidates_are_kept() -> None:
    memory = torch.arange(6.0)[None]
    (found,) = route(torch.zeros(1, 3), memory, tuple("abcdef"), top_k=2)
    assert [c.procedure for c in found.choices] == ["f", "e"]
    assert found.choices[0].probability == pytest.approx(float(memory.softmax(-1)[0, 5]))


def test_logits_of_any_size_give_finite_masses() -> None:
    huge = torch.full((1, 2), 5e4)
    (found,) = route(huge, huge, ("a", "b"))
    assert found.memory_mass == 0.5


def test_of_equal_scores_the_first_is_chosen_and_ordinary_tokens_win() -> None:
    """As writing does: a memory token is written if it scores higher than every ordinary token."""
    memory = torch.ones(1, 300)
    memory[0, 7] = 0
    (found,) = route(torch.ones(1, 4), memory, tuple(map(str, range(300))), top_k=8)
    assert [c.procedure for c in found.choices] == ["0", "1", "2", "3", "4", "5", "6", "8"]
    assert found.rejected


def test_a_gate_leaves_memory_tokens_or_all_others() -> None:
    rows: list[Any] = [SimpleNamespace(route=Route((), rejected, 0.5)) for rejected in (True, False)]
    own: Any = None
    frozen, memory = Writer._open(own, torch.zeros(2, 3), torch.ones(2, 2), rows)
    assert frozen.tolist() == [[0.0] * 3, [-math.inf] * 3]
    assert memory.tolist() == [[-math.inf] * 2, [1.0] * 2]
