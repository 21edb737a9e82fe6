"""A portion of tools with their queries: wrong input is refused."""

from __future__ import annotations

import pytest

from tokmem.data.calls.compose import Composed
from tokmem.data.calls.portion import check_new_tools, check_portion
from tokmem.errors import DataError
from tokmem.records import Example, Procedure, Turn


def portion(*names: str, called: str = "", tested: str = "") -> Composed:
    def queries(text: str) -> tuple[Example, ...]:
        return tuple(Example(f"q {name}", (Turn(name, "{}"),), id=name) for name in text.split())

    return Composed(tuple(map(Procedure, names)), queries(called), (), queries(tested))


def test_each_tool_is_called_in_training_and_no_other() -> None:
    check_portion(portion("a", "b", called="a b", tested="a"), "1-2")
    with pytest.raises(DataError, match=r"tools 1-2: no training query calls 'b'"):
        check_portion(portion("a", "b", called="a"), "1-2")
    with pytest.raises(DataError, match=r"test query 'ab' calls 'ab'.*a tool of its range"):
        check_portion(portion("a", "b", called="a b", tested="ab"), "1-2")


def test_a_tool_stands_in_one_portion() -> None:
    check_new_tools({"1-2": portion("a", "b"), "3-4": portion("c")})
    with pytest.raises(DataError, match=r"tool 'b' is among tools 1-2 and 3-4"):
        check_new_tools({"1-2": portion("a", "b"), "3-4": portion("b")})
