"""Compares closed-form addresses with their definitions, one state at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.bank.gaussians import DIM, clouds, statistics_of
from tokmem.bank.addresses import Gate, Reference, call_row, discriminants, rows, shrunk, unit_row
from tokmem.bank.calibration import fit_reference
from tokmem.bank.moments import Moments
from tokmem.errors import BankError


def distance(state: Tensor, centre: Tensor, metric: Tensor) -> Tensor:
    """Squared Mahalanobis distance."""
    return (state - centre) @ torch.linalg.inv(metric) @ (state - centre)


def test_discriminants_are_differences_of_gaussian_log_densities() -> None:
    found = statistics_of(clouds(4, 8))
    metric, mean = shrunk(found.covariance(), 0.1), found.common_mean()
    state = torch.randn(DIM, dtype=torch.float64) + 3
    wanted = [(distance(state, mean, metric) - distance(state, m, metric)) / 2 for m in found.means()]
    got = discriminants(found.means(), metric, mean).scores(state[None])[0]
    torch.testing.assert_close(got, torch.stack(wanted))


def test_a_covariance_that_is_none_is_refused() -> None:
    found = statistics_of(clouds(4, 8))
    with pytest.raises(BankError, match="not positive definite"):
        discriminants(found.means(), -torch.eye(DIM).double(), found.common_mean())


def test_shrinking_adds_a_share_of_the_mean_variance() -> None:
    covariance = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    wanted = torch.diag(torch.tensor([1.2, 2.2, 3.2], dtype=torch.float64))
    torch.testing.assert_close(shrunk(covariance, 0.1), wanted)
    assert torch.equal(shrunk(torch.zeros(3, 3).double(), 0.1), torch.eye(3).double())


def test_the_unit_row_is_the_least_squares_solution() -> None:
    states = torch.cat(list(clouds(6, 50).values())).double()
    got = unit_row(states.T.cov(correction=0), states.mean(0))
    wanted = torch.linalg.lstsq(states, torch.ones(len(states), 1).double()).solution[:, 0]
    torch.testing.assert_close(states @ got, states @ wanted, atol=0.05, rtol=0)
    assert abs(float((states @ got).mean()) - 1) < 0.05


def test_rows_need_no_bias_where_the_unit_row_reads_one() -> None:
    found, number = statistics_of(clouds(5, 8)), torch.tensor(0.0).double()
    unit, state = torch.eye(DIM).double()[0], torch.randn(DIM, dtype=torch.float64)
    state[0] = 1.0
    eye, mean = torch.eye(DIM).double(), found.common_mean()
    reference = Reference(eye, eye, mean, unit, 2 * unit, number + 0.5, number + 5, number)
    got = rows(found.means(), reference) @ state
    torch.testing.assert_close(got, 0.5 * discriminants(found.means(), eye, mean).scores(state) + 7.0)


def test_the_call_row_tells_calls_from_other_positions() -> None:
    """The row equals the log-odds of two Gaussians with one covariance, where the unit row reads one."""
    own, other = clouds(2, 400, spread=3.0).values()
    calls, rest = Moments.of(own), Moments.of(other)
    seen = calls.plus(rest)
    row = call_row(calls, rest, unit_row(seen.covariance, seen.mean), 0.1)
    assert float(((own.double() @ row) > 0).double().mean()) > 0.95
    assert float(((other.double() @ row) < 0).double().mean()) > 0.95
    assert not call_row(calls, Moments(DIM), row, 0.1).any()


def test_fits_compare_the_nearest_mean_with_the_common_one() -> None:
    found = statistics_of(clouds(4, 8))
    reference = fit_reference(found, {})
    states = torch.cat([own[:2] for own in clouds(6, 2).values()])
    wanted = [
        1
        - min(distance(state, m, reference.metric) for m in found.means())
        / distance(state, reference.mean, reference.background)
        for state in states.double()
    ]
    torch.testing.assert_close(Gate(found.means(), reference).fits(states), torch.stack(wanted))
