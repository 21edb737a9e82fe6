"""The state of one prompt while it is decoded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from tokmem.recall.constrained import Guide
from tokmem.records import Forced, Route


@dataclass
class Row:
    """The state of one prompt: the ids written so far, and the ids that are forced to come.

    Attributes:
        prompt: token ids of the prompt, which ends where its first memory token will stand.
        most: most tokens that the row may write.
        draws: random numbers of this row, so that sampling does not depend on other rows.
        procedures: procedures that are still to be forced; None if the model chooses.
        queue: ids that are forced next: the later tokens of a wide procedure, or of a composition.
        ids: the ids written so far.
        route: the route of the prompt; None with an empty bank.
        routes: for each memory token the route that chose it.
        guide: the grammar of the current response; None if the response is free.
        finished: whether a stop token ended the row.
    """

    prompt: tuple[int, ...]
    most: int
    draws: Random
    procedures: deque[Forced] | None = None
    queue: deque[int] = field(default_factory=deque)
    ids: list[int] = field(default_factory=list)
    route: Route | None = None
    routes: list[Route] = field(default_factory=list)
    guide: Guide | None = None
    finished: bool = False

    def write(self, token: int, stops: frozenset[int]) -> bool:
        """Writes a token; returns whether the row continues."""
        if token in stops:
            self.finished = True
            return False
        self.ids.append(token)
        return len(self.ids) < self.most
