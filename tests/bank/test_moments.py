"""Moments: parts in any order add up to the moments of the whole."""

from __future__ import annotations

import torch

from tokmem.bank.moments import Moments

STATES = 3 + torch.randn(20, 5, generator=torch.Generator().manual_seed(0))


def test_moments_are_those_of_the_definition() -> None:
    own = Moments.of(STATES)
    assert own.count == 20
    torch.testing.assert_close(own.mean, STATES.double().mean(0))
    torch.testing.assert_close(own.covariance, torch.cov(STATES.double().T, correction=0))


def test_parts_in_any_order_are_the_whole() -> None:
    whole, none = Moments.of(STATES), Moments.of(STATES[:0])
    first, second, third = (Moments.of(part) for part in STATES.split([3, 10, 7]))
    for both in (first.plus(second).plus(third), third.plus(none).plus(first.plus(second))):
        assert both.count == 20
        torch.testing.assert_close(both.total, whole.total)
        torch.testing.assert_close(both.scatter, whole.scatter)
