"""Draws tools and their rows evenly: every item is used before any item is used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from tokmem.data.calls.xlam import XlamRow

T = TypeVar("T")
Sources = Mapping[str, tuple[XlamRow, ...]]


class EvenSampler(Generic[T]):
    """Draws items in a random order and repeats none before it has drawn them all."""

    def __init__(self, items: Sequence[T], rng: Random) -> None:
        self._items, self._rng = items, rng
        self._pending: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def draw(self, number: int) -> list[T]:
        """Draws ``number`` different items; there must be that many."""
        drawn: list[T] = []
        while len(drawn) < number:
            fresh = next((item for item in self._pending if item not in drawn), None)
            if fresh is None:
                self._pending += self._rng.sample(self._items, len(self._items))
            else:
                self._pending.remove(fresh)
                drawn.append(fresh)
        return drawn


@dataclass
class RowSampler:
    """Draws rows of several tools, for queries that call several tools.

    Attributes:
        sources: each tool's rows, which call no other tool; at least one of them has a single call.
        rng: makes every draw.
    """

    sources: Sources
    rng: Random
    tools: EvenSampler[str] = field(init=False)
    single: dict[str, EvenSampler[XlamRow]] = field(init=False)
    several: dict[str, tuple[XlamRow, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.tools = EvenSampler(list(self.sources), self.rng)
        by_tool = self.sources.items()
        self.single = {
            name: EvenSampler([row for row in own if len(row.calls) == 1], self.rng) for name, own in by_tool
        }
        self.several = {name: tuple(row for row in own if len(row.calls) > 1) for name, own in by_tool}

    def draw(self, number: int, max_calls: int, *, same_tool: bool) -> list[XlamRow] | None:
        """Draws rows of ``number`` different tools, in the order of their calls.

        Args:
            number: how many tools; at most as many as there are.
            max_calls: the most calls in all rows together; at least ``number``.
            same_tool: whether one tool is called more than once, by one row or else by two.

        Returns:
            The rows; None if ``same_tool`` is set and no drawn tool can be called more than once.
        """
        names, room = self.tools.draw(number), max_calls - number + 1
        able = [name for name in names if self._fitting(name, room) or len(self.single[name]) > 1]
        if same_tool and not able:
            return None
        twice = self.rng.choice(able) if same_tool else None
        drawn = (self._repeated(name, room) if name == twice else self.single[name].draw(1) for name in names)
        return [row for rows in drawn for row in rows]

    def _fitting(self, name: str, room: int) -> list[XlamRow]:
        """Returns the rows that call a tool more than once, and at most ``room`` times."""
        return [row for row in self.several[name] if len(row.calls) <= room]

    def _repeated(self, name: str, room: int) -> list[XlamRow]:
        """Draws one row that calls a tool more than once, else two rows that call it once."""
        fitting = self._fitting(name, room)
        return [self.rng.choice(fitting)] if fitting else self.single[name].draw(2)
