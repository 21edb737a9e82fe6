from __future__ import annotations

import math

import torch

from tokmem.recall.sample import choose
from tokmem.seeds import generator

PROBABILITIES = torch.tensor([0.1, 0.0, 0.5, 0.1, 0.3])
SCORES = PROBABILITIES.log().expand(4000, -1)


def shares(temperature: float, top_p: float) -> torch.Tensor:
    picks = choose(SCORES, temperature, top_p, generator(0, "sample"))
    return torch.bincount(picks, minlength=5) / len(picks)


def test_greedy_takes_the_best() -> None:
    assert choose(torch.tensor([[0.0, 2.0, -math.inf], [3.0, 2.0, 1.0]]), 0, 1.0, None).tolist() == [1, 0]


def test_sampling_follows_the_probabilities_and_never_takes_what_is_not_allowed() -> None:
    torch.testing.assert_close(shares(1.0, 1.0), PROBABILITIES, rtol=0, atol=0.03)
    assert shares(1.0, 1.0)[1] == 0


def test_temperature_sharpens() -> None:
    squared = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    torch.testing.assert_close(shares(0.5, 1.0), squared, rtol=0, atol=0.03)


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    assert shares(1.0, 0.4).tolist() == [0, 0, 1, 0, 0]
    wanted = torch.tensor([0.0, 0.0, 0.625, 0.0, 0.375])
    torch.testing.assert_close(shares(1.0, 0.7), wanted, rtol=0, atol=0.03)
