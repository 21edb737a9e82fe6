"""In what portions tasks arrive, and after how many of them everything learned so far is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tokmem.errors import ConfigError

Schedule = Literal["mixed", "blocks", "tasks"]


@dataclass(frozen=True)
class Block:
    """Tasks `start` to `end` (not included), learned together, their examples shuffled.

    Attributes:
        measured: whether all tasks seen are measured after it: a stage ends here.
    """

    start: int
    end: int
    measured: bool


def plan(tasks: int, stages: Sequence[int], schedule: Schedule, block_size: int) -> tuple[Block, ...]:
    """Cuts an ordered list of tasks into blocks, of which each stage ends one.

    Args:
        tasks: how many there are.
        stages: ascending numbers of tasks after which to measure; none: after all of them.
        schedule: `mixed` learns all that is new at a stage together, `blocks` at most `block_size` tasks
            at a time, `tasks` one after another.
        block_size: tasks in a block.

    Raises:
        ConfigError: stages that do not ascend, or that there are not enough tasks for.
    """
    ends = tuple(stages) or (tasks,)
    if list(ends) != sorted(set(ends)) or ends[0] < 1:
        raise ConfigError(f"stages {list(ends)}", "ascending numbers of tasks, each once")
    if ends[-1] > tasks:
        raise ConfigError(
            f"a stage of {ends[-1]} tasks", f"at most the {tasks} of the corpus", "drop it, or add tasks"
        )
    size = {"mixed": tasks, "blocks": block_size, "tasks": 1}[schedule]
    blocks = []
    for start, end in zip((0, *ends), ends, strict=False):
        cuts = [*range(start, end, size), end]
        blocks += [Block(a, b, measured=b == end) for a, b in pairwise(cuts)]
    return tuple(blocks)
