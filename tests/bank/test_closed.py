"""Banks with computed addresses: the order of building does not matter, and unlike banks do not mix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.bank.gaussians import READ_WITH, clouds
from tests.tiny import DIM, SPARE, VOCAB
from tokmem.bank.bank import Bank
from tokmem.bank.closed import close, gate_of
from tokmem.bank.policy import ClosedForm
from tokmem.bank.slots import IdSpace
from tokmem.bank.statistics import Statistics
from tokmem.bank.store import Origin, load_bank, save_bank
from tokmem.errors import BankError
from tokmem.records import Procedure

STATES = clouds(6, 9, dim=DIM)
NAMES = tuple(STATES)


def empty(**policy: Any) -> Bank:
    bank = Bank(DIM, IdSpace(VOCAB, SPARE), coupled=False)
    bank.statistics = Statistics(DIM, ClosedForm(**policy), READ_WITH)
    return bank


def learn(bank: Bank, names: Sequence[str]) -> Bank:
    """A stage: adds procedures with meaningless rows, then their states."""
    assert bank.statistics is not None
    bank.freeze()
    bank.add([Procedure(n) for n in names], torch.ones(len(names), 1, DIM), torch.ones(len(names), DIM))
    for name in names:
        bank.statistics.add(name, STATES[name], torch.full((9,), 5.0))
        bank.keep_states(name, STATES[name][:4])
    close(bank, names)
    return bank


def address(bank: Bank) -> dict[str, Tensor]:
    return {name: bank.rows(name)[0] for name in bank.names}


def routes(bank: Bank) -> list[str]:
    """The procedure that each of all states reaches."""
    scores = torch.cat(list(STATES.values())) @ bank.addresses().T
    return [bank.names[i] for i in scores.argmax(-1).tolist()]


def assert_same(bank: Bank, other: Bank) -> None:
    assert set(bank.names) == set(other.names)
    for name, row in address(bank).items():
        torch.testing.assert_close(row, address(other)[name], rtol=1e-6, atol=1e-6)
    assert routes(bank) == routes(other)
    states = torch.cat(list(STATES.values()))
    gate, its = gate_of(bank), gate_of(other)
    assert gate is not None
    assert its is not None
    torch.testing.assert_close(gate.fits(states), its.fits(states))
    assert gate.least_fit == pytest.approx(its.least_fit)


def test_every_order_of_arrival_gives_the_same_bank() -> None:
    """All at once, one by one, in blocks, and merged from two banks, in twelve orders each."""
    whole = learn(empty(), NAMES)
    assert (
        sum(
            got == name for got, name in zip(routes(whole), (n for n in NAMES for _ in range(9)), strict=True)
        )
        > 50
    )
    for order in list(permutations(NAMES))[::60]:
        single, blocks = empty(), empty()
        for name in order:
            learn(single, [name])
        for start in (0, 2, 4):
            learn(blocks, order[start : start + 2])
        merged = learn(empty(), order[:3])
        merged.merge(learn(empty(), order[3:]))
        for bank in (single, blocks, merged):
            assert_same(bank, whole)


def test_an_emptied_bank_computes_the_addresses_that_it_takes_over() -> None:
    bank = learn(empty(), NAMES[:2])
    bank.remove(NAMES[:2])
    bank.merge(learn(empty(), NAMES[2:]))
    before = address(bank)
    close(bank)
    assert all(torch.equal(row, before[name]) for name, row in address(bank).items())


def test_the_gate_is_made_once_and_anew_after_a_change() -> None:
    bank = learn(empty(), NAMES[:4])
    first = gate_of(bank)
    assert gate_of(bank) is first
    learn(bank, ["p4"])
    second = gate_of(bank)
    assert second is not first
    bank.remove(["p0"])
    assert gate_of(bank) is not second
    bank.merge(learn(empty(), ["p5"]))
    fits = gate_of(bank)
    assert fits is not None
    assert float(fits.fits(STATES["p5"]).mean()) > 0


def test_removed_procedures_leave_the_routes_of_the_others() -> None:
    bank = learn(empty(), NAMES)
    kept = address(bank)
    bank.remove(["p2"])
    assert bank.statistics is not None
    assert bank.statistics.names == ("p0", "p1", "p3", "p4", "p5")
    assert all(torch.equal(row, kept[name]) for name, row in address(bank).items())
    learn(bank, ["p2"])
    for name, row in address(bank).items():
        assert torch.cosine_similarity(row, kept[name], dim=0) > 0.99


def test_frozen_rows_keep_their_bits_for_ever() -> None:
    bank = learn(empty(shared="frozen"), NAMES[:3])
    before = address(bank)
    for name in NAMES[3:]:
        learn(bank, [name])
    assert all(torch.equal(address(bank)[name], row) for name, row in before.items())
    hits = [got == name for got, name in zip(routes(bank), (n for n in NAMES for _ in range(9)), strict=True)]
    assert sum(hits) > 48


def test_frozen_banks_with_one_first_stage_merge_without_a_change() -> None:
    first = learn(empty(shared="frozen"), NAMES[:3])
    second = first.slice(NAMES[:3])
    learn(second, NAMES[3:])
    rows = address(second)
    first.merge(second, NAMES[3:])
    assert all(torch.equal(address(first)[name], row) for name, row in rows.items())
    with pytest.raises(BankError, match="first stage"):
        first.merge(_renamed(learn(empty(shared="frozen"), NAMES[2:5])))


def _renamed(bank: Bank) -> Bank:
    for name in bank.names:
        bank.rename(name, f"other {name}")
    return bank


def test_slice_and_rename_keep_rows_and_statistics() -> None:
    bank = learn(empty(), NAMES)
    part = bank.slice(["p1", "p4"])
    assert all(torch.equal(row, address(bank)[name]) for name, row in address(part).items())
    bank.rename("p1", "renamed")
    assert bank.statistics is not None
    assert part.statistics is not None
    assert torch.equal(bank.statistics.mean("renamed"), part.statistics.mean("p1"))
    close(bank)


def test_a_saved_bank_comes_back_whole(tmp_path: Path) -> None:
    for shared in ("updated", "frozen"):
        bank = learn(empty(shared=shared), NAMES)
        save_bank(bank, tmp_path / shared, Origin("b", "f"))
        assert (tmp_path / shared / "statistics.safetensors").is_file()
        loaded, _ = load_bank(tmp_path / shared)
        assert torch.equal(loaded.addresses(), bank.addresses())
        assert_same(loaded, bank)
        learn(bank.slice(NAMES[:5]), ["p5"])
        loaded.remove(["p0"])
        assert learn(loaded, ["p0"]).statistics is not None


def test_a_damaged_file_of_statistics_is_refused(tmp_path: Path) -> None:
    save_bank(learn(empty(), NAMES), tmp_path / "bank", Origin("b", "f"))
    path = tmp_path / "bank" / "statistics.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(BankError, match=r"statistics\.safetensors is truncated or was edited"):
        load_bank(tmp_path / "bank")
    path.unlink()
    with pytest.raises(BankError, match=r"no statistics\.safetensors"):
        load_bank(tmp_path / "bank")


def test_a_bank_of_the_format_before_still_loads(tmp_path: Path) -> None:
    from tokmem.bank.facts import digest

    bank = learn(empty(), NAMES)
    bank.statistics = None
    save_bank(bank, tmp_path / "bank", Origin("b", "f"))
    assert not (tmp_path / "bank" / "statistics.safetensors").exists()
    path = tmp_path / "bank" / "bank.json"
    facts = json.loads(path.read_text())
    del facts["digest"]
    facts["format"] = 2
    path.write_text(json.dumps({**facts, "digest": digest(facts)}))
    loaded, _ = load_bank(tmp_path / "bank")
    assert torch.equal(loaded.addresses(), bank.addresses())
    assert gate_of(loaded) is None


def test_trained_and_computed_addresses_do_not_mix() -> None:
    trained = Bank(DIM, IdSpace(VOCAB, SPARE), coupled=False)
    trained.add([Procedure("t")], torch.ones(1, 1, DIM), torch.ones(1, DIM))
    closed = learn(empty(), NAMES[:2])
    with pytest.raises(BankError, match="trained addresses; wanted: one with closed-form ones"):
        closed.merge(trained)
    with pytest.raises(BankError, match="closed-form addresses; wanted: one with trained ones"):
        trained.merge(closed)
    assert (len(closed), len(trained)) == (2, 1)


def test_a_procedure_that_is_not_learned_yet_changes_nothing() -> None:
    bank, whole, states = learn(empty(), NAMES[:2]), learn(empty(), NAMES[:2]), torch.randn(5, DIM)
    bank.add([Procedure("bare")], torch.ones(1, 1, DIM), torch.ones(1, DIM))
    close(bank)
    for name in whole.names:
        assert torch.equal(bank.rows(name)[0], whole.rows(name)[0])
    assert torch.equal(bank.rows("bare")[0], torch.ones(DIM))
    gate, other = gate_of(bank), gate_of(whole)
    assert gate is not None
    assert other is not None
    assert torch.equal(gate.fits(states), other.fits(states))
    both = learn(empty(), NAMES[2:3])
    both.merge(bank)
    assert set(both.names) == {*NAMES[:3], "bare"}
    assert torch.equal(both.rows("bare")[0], torch.ones(DIM))
    fresh = empty()
    fresh.add([Procedure("bare")], torch.ones(1, 1, DIM), torch.ones(1, DIM))
    close(fresh)
    assert gate_of(fresh) is None


def test_a_bank_whose_procedures_were_removed_keeps_their_scatter_in_a_merge() -> None:
    """As it does when procedures are added, so that the order of merging and removing does not matter."""
    before, after = learn(empty(), NAMES[:1]), learn(empty(), NAMES[:1])
    before.remove(NAMES[:1])
    before.merge(learn(empty(), NAMES[1:]))
    after.merge(learn(empty(), NAMES[1:]))
    after.remove(NAMES[:1])
    assert before.statistics is not None
    assert after.statistics is not None
    torch.testing.assert_close(before.statistics.scatter, after.statistics.scatter)
    assert before.statistics.freedom == after.statistics.freedom
