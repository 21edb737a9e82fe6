"""The queries that an export is checked with."""

from __future__ import annotations

import pytest

from tests.export.tiny_memory import tiny_memory
from tokmem.export.probes import examples
from tokmem.records import Procedure


@pytest.mark.parametrize(("count", "step"), [(3, 1), (8, 1), (20, 2), (40, 5)])
def test_a_few_procedures_of_the_whole_bank_are_probed(count: int, step: int) -> None:
    memory = tiny_memory(procedures=[Procedure(f"p{number}") for number in range(count)])
    found = {turn.procedure for example in examples(memory) for turn in example.turns}
    assert found == {f"p{number}" for number in range(0, count, step)} & {f"p{n * step}" for n in range(8)}
