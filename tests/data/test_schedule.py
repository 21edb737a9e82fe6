"""The portions in which tasks arrive."""

from __future__ import annotations

import pytest

from tokmem.data.schedule import Block, Schedule, plan
from tokmem.errors import ConfigError


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [("mixed", [4, 9]), ("blocks", [3, 4, 7, 9]), ("tasks", [1, 2, 3, 4, 5, 6, 7, 8, 9])],
)
def test_blocks_cover_the_tasks_in_order_and_end_where_stages_do(schedule: Schedule, ends: list[int]) -> None:
    blocks = plan(10, (4, 9), schedule, 3)
    assert [b.end for b in blocks] == ends
    assert [b.start for b in blocks] == [0, *ends[:-1]]
    assert [b.end for b in blocks if b.measured] == [4, 9]


def test_without_stages_all_tasks_are_one() -> None:
    assert plan(7, (), "mixed", 3) == (Block(0, 7, measured=True),)
    assert [b.measured for b in plan(7, (), "blocks", 3)] == [False, False, True]


@pytest.mark.parametrize(("stages", "said"), [((4, 2), "ascending"), ((2, 2), "once"), ((0,), "ascending")])
def test_stages_that_make_no_sense(stages: tuple[int, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(10, stages, "mixed", 10)


def test_a_stage_beyond_the_corpus() -> None:
    with pytest.raises(ConfigError, match="at most the 10"):
        plan(10, (5, 50), "mixed", 10)
