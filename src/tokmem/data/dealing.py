"""Dealing tools and their rows evenly, so that none is used again before the others were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from tokmem.data.xlam import XlamRow

T = TypeVar("T")
Sources = Mapping[str, tuple[XlamRow, ...]]


class Deck(Generic[T]):
    """Deals items evenly: all of them, in a random order, before any comes again."""

    def __init__(self, items: Sequence[T], rng: Random) -> None:
        self._items, self._rng = items, rng
        self._pile: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def deal(self, number: int) -> list[T]:
        """So many different items, at most as many as there are."""
        hand: list[T] = []
        while len(hand) < number:
            fresh = next((item for item in self._pile if item not in hand), None)
            if fresh is None:
                self._pile += self._rng.sample(self._items, len(self._items))
            else:
                self._pile.remove(fresh)
                hand.append(fresh)
        return hand


@dataclass
class Table:
    """Rows of several tools, dealt for queries that call several of them.

    Attributes:
        sources: the rows of each tool, each calling it alone; at least one of them with a single call.
        rng: draws.
    """

    sources: Sources
    rng: Random
    tools: Deck[str] = field(init=False)
    single: dict[str, Deck[XlamRow]] = field(init=False)
    several: dict[str, tuple[XlamRow, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.tools = Deck(list(self.sources), self.rng)
        by_tool = self.sources.items()
        self.single = {
            name: Deck([row for row in own if len(row.calls) == 1], self.rng) for name, own in by_tool
        }
        self.several = {name: tuple(row for row in own if len(row.calls) > 1) for name, own in by_tool}

    def deal(self, number: int, max_calls: int, *, same_tool: bool) -> list[XlamRow] | None:
        """Rows of so many different tools, in the order of their calls.

        Args:
            number: of tools; at most as many as there are.
            max_calls: most calls in all rows together; at least ``number``.
            same_tool: whether one of the tools is called more than once: by one row, else by two.

        Returns:
            None where one should, and none of the tools dealt can be.
        """
        names, room = self.tools.deal(number), max_calls - number + 1
        able = [name for name in names if self._fitting(name, room) or len(self.single[name]) > 1]
        if same_tool and not able:
            return None
        twice = self.rng.choice(able) if same_tool else None
        dealt = (self._repeated(name, room) if name == twice else self.single[name].deal(1) for name in names)
        return [row for rows in dealt for row in rows]

    def _fitting(self, name: str, room: int) -> list[XlamRow]:
        """Rows that call a tool more than once, and at most ``room`` times."""
        return [row for row in self.several[name] if len(row.calls) <= room]

    def _repeated(self, name: str, room: int) -> list[XlamRow]:
        """One row that calls a tool more than once, else two that call it once."""
        fitting = self._fitting(name, room)
        return [self.rng.choice(fitting)] if fitting else self.single[name].deal(2)
