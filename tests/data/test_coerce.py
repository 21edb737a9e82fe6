"""What a caller writes becomes procedures and examples; what says too little is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tokmem.data.coerce import as_examples, as_procedures
from tokmem.errors import DataError

ROW = {"query": "q", "response": "r"}


@pytest.mark.parametrize(
    ("row", "procedure", "wanted"),
    [
        (ROW, "b", "b"),
        (ROW | {"procedure": None}, "b", "b"),
        (ROW | {"procedure": "a"}, "b", "a"),
    ],
)
def test_a_row_that_names_no_procedure_is_of_the_given_one(
    row: dict[str, Any], procedure: str, wanted: str
) -> None:
    (example,) = as_examples([row], ["a", "b"], procedure)
    assert example.turns[0].procedure == wanted


@pytest.mark.parametrize("known", [[], ["a"], ["a", "b"]])
def test_an_empty_name_is_refused_and_takes_no_other(known: list[str]) -> None:
    with pytest.raises(DataError, match=r"an example of procedure ''.*give it a name"):
        as_examples([ROW | {"procedure": ""}], known)


def test_one_tool_without_a_description_is_a_tool() -> None:
    assert [p.name for p in as_procedures({"type": "function", "name": "ping"})] == ["ping"]
    (named,) = as_procedures({"name": "ping"})
    assert (named.name, named.description) == ("name", "ping"), "a name and its description"
