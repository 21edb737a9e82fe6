from __future__ import annotations

import pytest

from tokmem.bank.slots import IdSpace, SlotMap
from tokmem.errors import BankError

SPACE = IdSpace(rows=10, spare=(7, 3))


def slots(policy: str, *names: str, width: int = 1) -> SlotMap:
    made = SlotMap(SPACE, policy)
    made.add(names, width)
    return made


@pytest.mark.parametrize(
    ("policy", "ids"), [("auto", (7, 3, 10, 11)), ("append", (10, 11, 12, 13)), ("spare", (7, 3))]
)
def test_policies_take_ids_in_their_order(policy: str, ids: tuple[int, ...]) -> None:
    names = [f"p{i}" for i in range(len(ids))]
    assert slots(policy, *names).token_ids == ids


def test_exhausted_spare_rows_are_refused_whole() -> None:
    made = slots("spare", "a")
    with pytest.raises(BankError, match=r"2 more memory tokens, and 1 spare rows left.*'auto' or 'append'"):
        made.add(["b", "c"])
    assert made.names == ("a",)


def test_an_id_never_moves_and_is_never_given_twice() -> None:
    made = slots("auto", "a", "b", "c", "d")
    before = {name: made.ids(name) for name in ("a", "d")}
    made.remove(["b", "c"])
    made.add(["e", "b"])
    made.rename("a", "z")
    assert {"a": made.ids("z"), "d": made.ids("d")} == before
    assert (made.ids("e"), made.ids("b"), made.retired) == ((12,), (13,), (3, 10))
    assert made.names == ("z", "d", "e", "b")
    made.remove(made.names)
    made.add(["f"])
    assert made.ids("f") == (14,)


def test_wide_procedures_hold_consecutive_slots() -> None:
    made = slots("auto", "a", "b", width=2)
    made.add(["c"])
    assert (made.slots("a"), made.slots("b"), made.slots("c")) == (range(2), range(2, 4), range(4, 5))
    assert made.heads == (0, 2, 4)
    assert made.ids("b") == (10, 11)
    assert len(made) == 5


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["b", "a"], None, "'a' twice"),
        (["b", "b"], None, "'b' twice"),
        (["b", "c"], [(3,), (7,)], "token id 7, already taken"),
        (["b", "c"], [(3,), (3,)], "token id 3, already taken"),
        (["b", "c"], [(3,), (4,)], "token id 4, which the backbone uses"),
        (["b", "c"], [(3,)], "1 a procedure, for 2"),
        (["b"], [(3, 10)], "1 a procedure, for 1"),
    ],
)
def test_refused_additions_leave_the_map_as_it_was(
    names: list[str], ids: list[tuple[int, ...]] | None, message: str
) -> None:
    made = slots("auto", "a")
    with pytest.raises(BankError, match=message):
        made.add(names, 1, ids)
    assert (made.names, made.token_ids) == (("a",), (7,))


def test_unknown_names_widths_and_policies_are_refused() -> None:
    made = slots("auto", "a", "b")
    with pytest.raises(BankError, match="'c'"):
        made.ids("c")
    with pytest.raises(BankError, match="'b' twice"):
        made.rename("a", "b")
    with pytest.raises(BankError, match="'a' as a new name of 'a'"):
        made.rename("a", "a")
    with pytest.raises(BankError, match="width 0"):
        made.add(["c"], 0)
    with pytest.raises(BankError, match="one of auto, spare, append"):
        SlotMap(SPACE, "spares")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\tb", "a\u2028b", "\x1b[1m", "\udc80"])
def test_names_that_do_not_show_on_one_line_are_refused(name: str) -> None:
    made = slots("auto", "a")
    for change in (lambda: made.add(["b", name]), lambda: made.rename("a", name)):
        with pytest.raises(BankError, match=r"named .*; wanted: a name of visible text on one line"):
            change()
    assert made.names == ("a",)
    made.rename("a", "ein Name, 名前 👩‍🔬")
