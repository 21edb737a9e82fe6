from __future__ import annotations

import math

import pytest
import torch

from tokmem.recall.sample import choose, penalised
from tokmem.seeds import stream

PROBABILITIES = torch.tensor([0.1, 0.0, 0.5, 0.1, 0.3])
SCORES = PROBABILITIES.log().expand(4000, -1)
DRAWS = [stream(0, "sample", i).random() for i in range(4000)]


def shares(temperature: float, top_p: float) -> torch.Tensor:
    picks = choose([SCORES[:, :2], SCORES[:, 2:]], temperature, top_p, DRAWS)
    return torch.bincount(picks, minlength=5) / len(picks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_greedy_takes_the_best_and_of_equals_the_first(dtype: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(0)
    scores = torch.randint(-3, 4, (200, 9), generator=draws).to(dtype)
    scores[0] = -math.inf
    wanted = [row.index(max(row)) for row in scores.tolist()]
    for parts in ([scores], [scores[:, :4], scores[:, 4:]], [scores[:, :1], scores[:, 1:5], scores[:, 5:]]):
        assert choose(parts, 0, 1.0, []).tolist() == wanted


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_a_draw_at_either_end_is_a_token_that_is_allowed(draw: float) -> None:
    for seed in range(50):
        scores = torch.randn(1, 40, generator=torch.Generator().manual_seed(seed))
        scores[:, 20:] = -math.inf
        assert choose([scores], 1.0, 1.0, [draw]).item() < 20
        assert choose([scores], 1.0, 1e-9, [draw]).item() == scores.argmax()


def test_a_draw_between_two_tokens_is_the_later_one() -> None:
    assert choose([torch.zeros(3, 2)], 1.0, 1.0, [0.49, 0.5, 0.51]).tolist() == [0, 1, 1]


def test_sampling_follows_the_probabilities_and_never_takes_what_is_not_allowed() -> None:
    torch.testing.assert_close(shares(1.0, 1.0), PROBABILITIES, rtol=0, atol=0.03)
    assert shares(1.0, 1.0)[1] == 0


def test_temperature_sharpens() -> None:
    squared = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    torch.testing.assert_close(shares(0.5, 1.0), squared, rtol=0, atol=0.03)


@pytest.mark.parametrize("temperature", [1e30, 1e39, 1e300])
def test_at_the_highest_temperatures_all_that_is_allowed_is_equally_likely(temperature: float) -> None:
    allowed = torch.tensor([0.25, 0.0, 0.25, 0.25, 0.25])
    torch.testing.assert_close(shares(temperature, 1.0), allowed, rtol=0, atol=0.03)


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    assert shares(1.0, 0.4).tolist() == [0, 0, 1, 0, 0]
    wanted = torch.tensor([0.0, 0.0, 0.625, 0.0, 0.375])
    torch.testing.assert_close(shares(1.0, 0.7), wanted, rtol=0, atol=0.03)


@pytest.mark.parametrize("temperature", [5e-324, 1e-39, 1e-31, 1e-29])
def test_a_temperature_near_zero_takes_the_best(temperature: float) -> None:
    scores = 30 * torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    scores[:, 3] = -math.inf
    assert choose([scores], temperature, 1.0, DRAWS[:50]).tolist() == scores.argmax(-1).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_is_penalised_once_and_memory_tokens_are_not(dtype: torch.dtype) -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0, -math.inf], [2.0, -2.0, 1.0, 0.0]], dtype=dtype)
    before = logits.clone()
    found = penalised(logits, [[0, 1, 0, 3], [4, 7]], 4.0)
    assert found.tolist() == [[0.5, -8.0, 1.0, -math.inf], [2.0, -2.0, 1.0, 0.0]]
    assert found.dtype == dtype
    assert torch.equal(logits, before)
    assert torch.equal(penalised(logits, [[], []], 4.0), logits)
