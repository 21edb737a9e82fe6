"""A bank's record holds what the pure functions compute from its rows."""

from __future__ import annotations

import json

import pytest
import torch

from tests.tiny import DIM, SPARE, VOCAB, tiny_bank
from tokmem.bank.bank import Bank
from tokmem.bank.facts import Origin
from tokmem.bank.slots import IdSpace
from tokmem.errors import BankError
from tokmem.report import bank_geometry as module
from tokmem.report.bank_geometry import bank_geometry

ORIGIN = Origin("mini", "f00d")


def test_a_coupled_bank_has_one_table_and_a_decoupled_one_two() -> None:
    record = bank_geometry(tiny_bank(True, "auto"), ORIGIN, "x")
    assert [table["name"] for table in record["tables"]] == ["memory tokens"]
    assert "address_steering_cosines" not in record
    bank = tiny_bank(False, "auto", width=2)
    record = json.loads(json.dumps(bank_geometry(bank, ORIGIN, "x", k=2)))
    assert [table["name"] for table in record["tables"]] == ["addresses", "steering"]
    for number, name in enumerate(bank.names):
        address, steering = bank.rows(name)
        both = (float(address.norm()), float(steering[0].norm()))
        assert tuple(t["norms"][number] for t in record["tables"]) == pytest.approx(both, abs=1e-4)
        cosine = float(torch.cosine_similarity(address, steering[0], dim=0))
        assert record["address_steering_cosines"][number] == pytest.approx(cosine, abs=1e-4)
    assert all(len(near) == 2 for near in record["tables"][0]["neighbours"])


def test_the_heat_map_stands_in_cluster_order() -> None:
    bank = tiny_bank(True, "auto")
    (table,) = bank_geometry(bank, ORIGIN, "x")["tables"]
    rows = bank.addresses()[table["order"]]
    expected = torch.cosine_similarity(rows[:, None], rows[None], dim=2)
    assert table["heat_map"]["block"] == 1
    torch.testing.assert_close(torch.tensor(table["heat_map"]["cosines"]), expected, atol=1e-4, rtol=0)


def test_the_heat_map_of_many_is_of_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEAT_CELLS", 2)
    bank = tiny_bank(True, "auto")  # five procedures: blocks of three, and what is left
    (table,) = bank_geometry(bank, ORIGIN, "x")["tables"]
    rows = bank.addresses()[table["order"]]
    whole = torch.cosine_similarity(rows[:, None], rows[None], dim=2)
    expected = [[whole[a, b].mean() for b in (slice(3), slice(3, 5))] for a in (slice(3), slice(3, 5))]
    assert table["heat_map"]["block"] == 3
    torch.testing.assert_close(
        torch.tensor(table["heat_map"]["cosines"]), torch.tensor(expected), atol=1e-4, rtol=0
    )


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(BankError, match="without a procedure"):
        bank_geometry(Bank(DIM, IdSpace(VOCAB, SPARE)), ORIGIN, "x")
