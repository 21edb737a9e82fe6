"""Stand-in queries under the instructions of a procedure."""

from __future__ import annotations

import pytest

from tokmem.bank.policy import STAND_INS as MOST
from tokmem.data.stand_ins import STAND_INS, stand_ins
from tokmem.records import Example


def test_there_are_as_many_as_a_policy_may_ask_for() -> None:
    assert len(set(STAND_INS)) == len(STAND_INS) == MOST


@pytest.mark.parametrize("count", [0, 1, 16])
def test_each_stands_under_the_instruction(count: int) -> None:
    found = stand_ins([Example("a query", instruction="Translate."), Example("another")], count)
    assert [e.query for e in found] == list(STAND_INS[:count])
    assert {e.instruction for e in found} <= {"Translate."}
    assert not any(e.turns or e.demonstrations for e in found)


def test_wordings_take_turns_whatever_the_order_of_the_examples() -> None:
    examples = [Example(str(i), instruction=text) for i, text in enumerate(("Say B.", "Say A.", "Say B."))]
    found = stand_ins(examples, 5)
    assert [e.instruction for e in found] == ["Say A.", "Say B.", "Say A.", "Say B.", "Say A."]
    assert stand_ins(examples[::-1], 5) == found


@pytest.mark.parametrize("instruction", ["", "  "])
def test_examples_without_instruction_have_none(instruction: str) -> None:
    assert stand_ins([Example("a query", instruction=instruction)], 16) == []


def test_many_wordings_are_spread_evenly() -> None:
    examples = [Example("a query", instruction=f"Wording {number:02d}.") for number in range(40)]
    found = [e.instruction for e in stand_ins(examples, 4)]
    assert found == ["Wording 00.", "Wording 10.", "Wording 20.", "Wording 30."]
