"""A prompt under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from tokmem.recall.constrained import Guide
from tokmem.records import Route


@dataclass
class Row:
    """A prompt under way: what it wrote, and what it still has to write whatever the model says.

    Attributes:
        prompt: token ids up to where the first memory token will stand.
        most: tokens that it may write.
        draws: its own random numbers, so that sampling does not hang on other rows.
        procedures: those still to be forced; None where the model chooses.
        queue: ids that come next: the rest of a wide procedure.
        ids: what it wrote.
        route: how the prompt was routed; None with an empty bank.
        routes: how each of its memory tokens was chosen.
        guide: the grammar of the response under way; None where it is free.
        finished: whether a stop token ended it.
    """

    prompt: tuple[int, ...]
    most: int
    draws: Random
    procedures: deque[str] | None = None
    queue: deque[int] = field(default_factory=deque)
    ids: list[int] = field(default_factory=list)
    route: Route | None = None
    routes: list[Route] = field(default_factory=list)
    guide: Guide | None = None
    finished: bool = False

    def write(self, token: int, stops: frozenset[int]) -> bool:
        """Adds a token; returns whether the row goes on."""
        if token in stops:
            self.finished = True
            return False
        self.ids.append(token)
        return len(self.ids) < self.most
