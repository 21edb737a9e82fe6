from __future__ import annotations

import pytest
import torch

from tests.tiny import DIM, SPARE, VOCAB, tiny_bank
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.errors import BankError
from tokmem.records import Procedure

both = pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])


def contents(bank: Bank) -> dict[str, tuple[tuple[int, ...], list[float], list[list[float]]]]:
    """Ids, address and steering by name."""
    found = {}
    for name in bank.names:
        address, steering = bank.rows(name)
        found[name] = (bank.slots.ids(name), address.tolist(), steering.tolist())
    return found


@both
def test_removing_and_renaming_leave_the_others_bit_equal(coupled: bool) -> None:
    bank = tiny_bank(coupled, "auto", width=2)
    before = contents(bank)
    bank.remove(["old0", "new1"])
    bank.rename("new2", "late")
    after = contents(bank)
    assert after == {"old1": before["old1"], "new0": before["new0"], "late": before["new2"]}
    assert (tuple(bank.procedures), bank.procedures["late"].name) == (("old1", "new0", "late"), "late")
    assert bank.fresh_names == ("new0", "late")
    ids = torch.tensor([*bank.slots.ids("late"), *before["new1"][0], 5])
    slots, is_memory = bank.find(ids)
    assert (slots[:2].tolist(), is_memory.tolist()) == ([4, 5], [True, True, False, False, False])


@both
def test_a_snapshot_puts_rows_back(coupled: bool) -> None:
    bank = tiny_bank(coupled, "auto", width=2)
    before, fresh, put_back = contents(bank), bank.fresh_names, bank.snapshot()
    for table in bank.tables:
        table.set_rows(torch.zeros_like(table.rows()), len(table))
    assert contents(bank) != before
    put_back()
    assert (contents(bank), bank.fresh_names) == (before, fresh)


def test_a_bank_can_be_emptied_and_filled_again() -> None:
    bank = tiny_bank(False, "auto")
    used = set(bank.slots.token_ids)
    bank.remove(bank.names)
    assert (len(bank), bank.trainable_parameters, len(bank.slot_ids)) == (0, 0, 0)
    bank.add([Procedure("a")], torch.ones(1, 1, DIM), torch.zeros(1, DIM))
    assert not used & set(bank.slots.token_ids)
    assert bank.trainable_parameters == 2 * DIM


@both
def test_find_head_knows_only_first_tokens(coupled: bool) -> None:
    bank = tiny_bank(coupled, "auto", width=2)
    ids = torch.tensor([[bank.slots.ids("new1")[0], bank.slots.ids("new1")[1], 5]])
    index, is_head = bank.find_head(ids)
    assert is_head.tolist() == [[True, False, False]]
    assert bank.names[int(index[0, 0])] == "new1"
    assert torch.equal(bank.addresses()[index[0, 0]], bank.rows("new1")[0])


@pytest.mark.parametrize(
    ("coupled", "width", "count"), [(True, 1, 3), (False, 1, 6), (True, 2, 6), (False, 2, 9)]
)
def test_trainable_parameters_are_those_of_fresh_rows(coupled: bool, width: int, count: int) -> None:
    bank = tiny_bank(coupled, "auto", width=width)
    assert bank.trainable_parameters == count * DIM
    bank.freeze()
    assert (bank.trainable_parameters, bank.fresh_names) == (0, ())
    bank.thaw()
    assert bank.fresh_names == bank.names


def test_freezing_changes_no_row_and_takes_it_from_the_parameters() -> None:
    bank = tiny_bank(False, "auto")
    before = contents(bank)
    bank.freeze()
    assert contents(bank) == before
    assert [p.numel() for p in bank.parameters()] == [0, 0]


@both
def test_slice_keeps_ids_and_rows_and_shares_no_memory(coupled: bool) -> None:
    bank = tiny_bank(coupled, "auto", width=2)
    before = contents(bank)
    part = bank.slice(["new2", "old0"])
    assert contents(part) == {name: before[name] for name in ("new2", "old0")}
    assert part.fresh_names == ()
    part.steering.frozen.zero_()
    assert contents(bank) == before


@both
def test_merge_keeps_free_ids_and_gives_new_ones_for_taken_ones(coupled: bool) -> None:
    ours, theirs = tiny_bank(coupled, "auto"), tiny_bank(coupled, "auto", seed=1)
    for name in theirs.names:
        theirs.rename(name, f"their {name}")
    theirs.add(
        [Procedure("far")], torch.ones(1, 1, DIM), None if coupled else torch.ones(1, DIM), ids=[(200,)]
    )
    before, other = contents(ours), contents(theirs)
    ours.merge(theirs, ["their old1", "far"])
    after = contents(ours)
    assert {name: after[name] for name in before} == before
    assert after["far"] == other["far"]
    assert after["their old1"][1:] == other["their old1"][1:]
    assert after["their old1"][0] == (SPARE[5],)
    assert ours.fresh_names == ("new0", "new1", "new2", "their old1", "far")


def test_new_ids_of_a_merge_take_no_id_that_a_later_procedure_keeps() -> None:
    ours, theirs = (tiny_bank(True, "auto", frozen=count, fresh=0) for count in (1, 2))
    for name in theirs.names:
        theirs.rename(name, f"their {name}")
    ours.merge(theirs)
    assert ours.memory == {"old0": (90,), "their old0": (92,), "their old1": (91,)}
    assert theirs.memory["their old1"] == (91,)


def test_a_merge_that_fails_changes_nothing() -> None:
    ours = tiny_bank(True, "spare", fresh=3)
    theirs = tiny_bank(True, "spare", frozen=0, fresh=3, seed=1)
    for name in theirs.names:
        theirs.rename(name, f"their {name}")
    before = contents(ours)
    with pytest.raises(BankError, match="spare rows left"):
        ours.merge(theirs)
    with pytest.raises(BankError, match="'missing'"):
        ours.merge(theirs, ["their new0", "missing"])
    with pytest.raises(BankError, match="in both banks"):
        ours.merge(tiny_bank(True, "auto"))
    with pytest.raises(BankError, match="decoupled"):
        ours.merge(tiny_bank(False, "auto"))
    assert contents(ours) == before


@pytest.mark.parametrize(
    ("coupled", "steering", "address", "message"),
    [
        (True, (1, 1, 5), None, "steering rows"),
        (True, (2, 1, DIM), None, "steering rows"),
        (True, (1, DIM), None, "steering rows"),
        (True, (1, 1, DIM), (1, DIM), "an address for a coupled"),
        (False, (1, 1, DIM), None, "no address for a decoupled"),
        (False, (1, 1, DIM), (1, 5), "address rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    coupled: bool, steering: tuple[int, ...], address: tuple[int, ...] | None, message: str
) -> None:
    bank = Bank(DIM, IdSpace(VOCAB, SPARE), coupled=coupled)
    with pytest.raises(BankError, match=message):
        bank.add([Procedure("a")], torch.ones(steering), None if address is None else torch.ones(address))
    assert (len(bank), len(bank.slots)) == (0, 0)


def test_thawed_procedures_train_again_under_their_ids() -> None:
    bank = tiny_bank(False, "auto", frozen=3, fresh=1, width=2)
    before = {name: (bank.slots.ids(name), *bank.rows(name)) for name in bank.names}
    bank.thaw(["old1"])
    assert bank.fresh_names == ("old1", "new0")
    assert bank.steering.fresh.shape[0] == 4
    for name, (ids, address, steering) in before.items():
        assert bank.slots.ids(name) == ids
        assert torch.equal(bank.rows(name)[0], address)
        assert torch.equal(bank.rows(name)[1], steering)
    bank.thaw()
    assert set(bank.fresh_names) == set(bank.names)


def test_query_states_follow_their_procedures() -> None:
    bank = tiny_bank(True, "auto")
    first, second = bank.names[:2]
    kept = {name: torch.randn(2, DIM) for name in (first, second)}
    for name, states in kept.items():
        bank.keep_states(name, states)
    bank.freeze()
    states, ids = bank.frozen_states()
    assert torch.equal(states, torch.cat([kept[first], kept[second]]))
    assert ids.tolist() == [bank.slots.ids(n)[0] for n in (first, first, second, second)]
    bank.thaw([first])
    assert torch.equal(bank.frozen_states()[0], kept[second]), "a procedure in training is no negative"
    bank.rename(second, "other")
    assert torch.equal(bank.slice(["other"]).states["other"], kept[second])
    bank.remove(["other"])
    assert set(bank.states) == {first}
    bank.keep_states(first, torch.zeros(0, DIM))
    assert bank.frozen_states()[0].shape == (0, DIM)
    with pytest.raises(BankError, match="query states"):
        bank.keep_states(first, torch.zeros(DIM))
    with pytest.raises(BankError, match="nobody"):
        bank.keep_states("nobody", torch.zeros(1, DIM))
