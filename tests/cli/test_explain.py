"""`--explain` says in words what each column of a table means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tokmem.report.distilled import MEANS
from tokmem.report.learned import OUTCOME
from tokmem.report.meanings import MEANINGS, meaning
from tokmem.report.results import ATOMIC, CAPACITY, COMPOSITIONAL


@pytest.mark.parametrize("columns", [ATOMIC, CAPACITY, COMPOSITIONAL, MEANS, OUTCOME], ids=len)
def test_every_column_of_a_result_has_a_meaning(columns: dict[str, str]) -> None:
    assert not [key for key in columns if meaning(key) is None]


def test_a_number_of_calls_does_not_change_the_meaning() -> None:
    assert meaning("tool_f1 2") == meaning("tool_f1 average") == MEANINGS["tool_f1"]
    assert meaning("unheard") is None


def test_a_table_is_explained_when_asked(cli: Cli, bank: Path) -> None:
    plain, explained = cli("bank", "list", bank), cli("bank", "list", bank, "--explain")
    assert explained.stdout.startswith(plain.stdout.partition("2 procedures")[0])
    assert f"token ids: {MEANINGS['ids']}" in explained.stdout
    assert MEANINGS["ids"] not in plain.stdout
    again = cli("bank", "list", bank)
    assert again.stdout == plain.stdout
