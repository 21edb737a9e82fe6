"""Ranges of tools by rank, such as ``51-100``, and the rounds that consist of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokmem.errors import ConfigError, DataError
from tokmem.records import Procedure

MOST_ROUNDS = 10_000


@dataclass(frozen=True, order=True)
class ToolRange:
    """The tools with ranks from ``first`` to ``last``; ranks count from 1, and both ends belong to the range.

    Raises:
        ConfigError: ``first`` is below 1 or above ``last``.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ConfigError(f"tools {self}", "a first rank from 1 up, and a last one not below it")

    def __str__(self) -> str:
        """Writes the range as file names do: ``51-100``."""
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        """Returns the number of tools."""
        return self.last - self.first + 1

    @classmethod
    def parse(cls, text: str) -> ToolRange:
        """Reads ``51-100``; ``20`` means ``1-20``.

        Raises:
            ConfigError: the text is neither.
        """
        match = re.fullmatch(r"\s*(?:(\d+)\s*-\s*)?(\d+)\s*", text)
        if match is None:
            raise ConfigError(f"tools {text!r}", "a range such as 51-100, or a number such as 20")
        return cls(int(match[1] or 1), int(match[2]))

    @classmethod
    def parse_all(cls, text: str) -> tuple[ToolRange, ...]:
        """Reads ranges with commas between them, such as ``1-50,101-250``.

        Raises:
            ConfigError: a range is malformed, or two overlap.
        """
        ranges = tuple(map(cls.parse, text.split(",")))
        require_disjoint(ranges)
        return ranges

    def select(self, ranked: Sequence[Procedure]) -> tuple[Procedure, ...]:
        """Returns the tools of this range.

        Args:
            ranked: tools in the order of their ranks.

        Raises:
            DataError: there are fewer tools.
        """
        if self.last > len(ranked):
            do = "choose a range within, or read more rows"
            raise DataError(f"tools {self}, but {len(ranked)} tools have rows", f"1-{len(ranked)}", do)
        return tuple(ranked[self.first - 1 : self.last])


def parse_rounds(text: str) -> tuple[tuple[ToolRange, int], ...]:
    """Reads rounds such as ``1-50:1,51-100:3``: ranges of tools and their epochs, in order.

    Raises:
        ConfigError: the text is malformed, or two ranges overlap.
    """
    rounds = []
    for part in text.split(","):
        tools, _, epochs = part.partition(":")
        if not epochs.strip().isdecimal() or int(epochs) < 1:
            raise ConfigError(f"round {part!r}", "tools and epochs, such as 51-100:3", "add the epochs")
        rounds.append((ToolRange.parse(tools), int(epochs)))
    require_disjoint([tools for tools, _ in rounds])
    return tuple(rounds)


def consecutive_ranges(start_tool: int, tools_per_round: int, num_rounds: int) -> tuple[ToolRange, ...]:
    """Makes ranges that follow each other: ``consecutive_ranges(51, 10, 2)`` is 51-60 and 61-70.

    Raises:
        ConfigError: a number is below 1, or there are too many rounds.
    """
    for name, value in (("tools_per_round", tools_per_round), ("num_rounds", num_rounds)):
        if value < 1:
            raise ConfigError(f"{name} {value}", "at least 1")
    if num_rounds > MOST_ROUNDS:
        raise ConfigError(f"num_rounds {num_rounds}", f"at most {MOST_ROUNDS:,}")
    firsts = range(start_tool, start_tool + num_rounds * tools_per_round, tools_per_round)
    return tuple(ToolRange(first, first + tools_per_round - 1) for first in firsts)


def choose_ranges(
    tools: str | None,
    training_rounds: str | None,
    num_rounds: int | None,
    tools_per_round: int | None,
    start_tool: int | None,
) -> tuple[ToolRange, ...] | None:
    """Reads ranges that one of three groups of settings names; None if none of them is given.

    Args:
        tools: ranges, such as `1-50,51-100`.
        training_rounds: ranges and epochs, such as `1-50:1,51-100:3`; the epochs do not matter.
        num_rounds: number of consecutive ranges.
        tools_per_round: tools in each of these.
        start_tool: first tool of the first of these; None: 1.

    Raises:
        ConfigError: several groups are given, half of one is, or a range is wrong.
    """
    groups = {"tools": tools, "training_rounds": training_rounds, "num_rounds": num_rounds}
    named = [name for name, value in groups.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(" and ".join(named), "one of them", "leave the others out")
    if (num_rounds is None) != (tools_per_round is None) or (start_tool and tools_per_round is None):
        got = "num_rounds, tools_per_round or start_tool alone"
        raise ConfigError(got, "the first two together, and maybe the third")
    if num_rounds is not None and tools_per_round is not None:
        return consecutive_ranges(1 if start_tool is None else start_tool, tools_per_round, num_rounds)
    if training_rounds:
        return tuple(one for one, _ in parse_rounds(training_rounds))
    return ToolRange.parse_all(tools) if tools else None


def require_disjoint(ranges: Iterable[ToolRange]) -> None:
    """Refuses ranges that share a tool.

    Raises:
        ConfigError: two ranges overlap.
    """
    for before, after in pairwise(sorted(ranges)):
        if after.first <= before.last:
            raise ConfigError(f"tools {before} and {after} overlap", "each tool in one round", "change one")
