from __future__ import annotations

import pytest
import torch

from tests.tiny import tiny_bank
from tokmem.bank.renorm import renorm


def test_new_rows_get_the_mean_norm_of_old_ones() -> None:
    old = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    new = torch.tensor([[0.0, 0.5], [8.0, 6.0]])
    torch.testing.assert_close(renorm(new, old), torch.tensor([[0.0, 3.0], [2.4, 1.8]]))
    torch.testing.assert_close(renorm(new[1:], old), torch.tensor([[2.4, 1.8]]))


def test_a_zero_row_stays_zero_and_with_nothing_old_nothing_happens() -> None:
    zero = torch.zeros(1, 2)
    assert torch.equal(renorm(zero, torch.ones(1, 2)), zero)
    new = torch.randn(3, 2)
    assert torch.equal(renorm(new, torch.zeros(0, 2)), new)


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
def test_a_bank_rescales_fresh_addresses_alone(coupled: bool) -> None:
    bank = tiny_bank(coupled, "auto", width=2)
    bank.address.fresh.data *= 7
    address, steering = bank.address.rows(), bank.steering.rows()
    heads, later = [4, 6, 8], [5, 7, 9]
    bank.renorm()
    assert torch.equal(bank.address.rows()[:4], address[:4])
    assert torch.equal(bank.address.rows()[later], address[later])
    torch.testing.assert_close(bank.address.rows()[heads], renorm(address[heads], address[[0, 2]]))
    assert torch.equal(bank.steering.rows(), bank.address.rows() if coupled else steering)


def test_the_first_stage_is_left_as_it_is() -> None:
    bank = tiny_bank(True, "auto", frozen=0)
    rows = bank.address.rows()
    bank.renorm()
    assert torch.equal(bank.address.rows(), rows)
