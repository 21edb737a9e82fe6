"""docs/serving.md says what can be exported how."""

from __future__ import annotations

from tests.export.combinations import PAGE, table


def test_the_table_of_combinations_is_what_happens() -> None:
    assert table() in PAGE.read_text("utf-8"), "run python -m tests.export.combinations"
