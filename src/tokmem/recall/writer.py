"""Chooses the tokens that rows write, from their last states.

Letters: B rows, d hidden size, V rows of the backbone, P procedures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tokmem.bank.closed import gate_of
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.constrained import Guides
from tokmem.recall.route import gated, route
from tokmem.recall.rows import Row
from tokmem.recall.sample import choose, penalised
from tokmem.recall.settings import RecallSettings
from tokmem.records import Route

MAX_LOGITS = 1 << 23  # most logits in memory at once while prompts are routed


class Writer:
    """Chooses the next token of each row, and records the routes of memory tokens.

    Args:
        lm: the backbone and its bank.
        stops: ids that end a response.
        settings: how to recall.
        guides: grammars of the responses; None leaves them unconstrained.

    Attributes:
        heads: maps the first memory id of each procedure to its name.
    """

    def __init__(
        self, lm: MemoryLM, stops: frozenset[int], settings: RecallSettings, guides: Guides | None = None
    ) -> None:
        self.lm, self.stops, self.settings, self.guides = lm, stops, settings, guides
        self.heads = {ids[0]: name for name, ids in lm.bank.memory.items()}
        self._routed = lm.bank.routed
        self._replaced = lm.head.replaced(lm.head.model_rows)
        self._gate = gate_of(lm.bank)

    def first(self, hidden: Tensor, rows: Sequence[Row]) -> list[bool]:
        """Routes prompts by their last states (B, d), and writes their first tokens.

        Returns:
            (B,) whether each row continues.
        """
        size = max(1, MAX_LOGITS // (self.lm.head.model_rows + len(self.lm.bank)))
        return [
            goes
            for start in range(0, len(rows), size)
            for goes in self._first(hidden[start : start + size], rows[start : start + size])
        ]

    def _first(self, hidden: Tensor, rows: Sequence[Row]) -> list[bool]:
        """`first` for rows whose logits fit into memory together."""
        frozen, memory = self._frozen(hidden), self.lm.head.memory(hidden)
        if self._routed:
            for row, its in zip(rows, self._routes(frozen, memory, hidden), strict=True):
                row.route = its
        blocked = bool(self._routed) and not self.settings.reject
        if self._gate and not blocked:
            frozen, memory = self._open(frozen, memory, rows)
        tokens = self._tokens(None if blocked else frozen, memory, rows)
        for row, token in zip(rows, tokens, strict=True):
            if token in self.heads and row.route:
                row.routes.append(row.route)
        return [row.write(token, self.stops) for row, token in zip(rows, tokens, strict=True)]

    def next(self, hidden: Tensor, rows: Sequence[Row]) -> list[bool]:
        """Writes the next token of each row, from the states (B, d) of its last token.

        Returns:
            (B,) whether each row continues.
        """
        frozen = raw = self._frozen(hidden)
        memory = None
        if self.settings.repetition_penalty != 1:
            frozen = penalised(frozen, [row.ids for row in rows], self.settings.repetition_penalty)
        if self.settings.mode == "chain":
            memory = self.lm.head.memory(hidden)
        tokens = self._tokens(*self._guided(frozen, memory, rows), rows)
        recalling = [i for i, token in enumerate(tokens) if token in self.heads]
        if recalling and self._routed:
            index = torch.tensor(recalling, device=hidden.device)
            found = self._routes(raw[index], self.lm.head.memory(hidden[index]), hidden[index])
            for i, its in zip(recalling, found, strict=True):
                rows[i].routes.append(its)
        return [row.write(token, self.stops) for row, token in zip(rows, tokens, strict=True)]

    def _routes(self, frozen: Tensor, memory: Tensor, hidden: Tensor) -> list[Route]:
        found = route(frozen.float(), memory, self._routed, self.settings.top_k)
        return gated(found, self._gate, hidden) if self._gate else found

    def _open(self, frozen: Tensor, memory: Tensor, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """The logits with memory tokens shut out where no procedure fits, and all others where one does."""
        shut = torch.tensor([[row.route is not None and row.route.rejected] for row in rows])
        shut = shut.to(memory.device)
        return frozen.masked_fill(~shut, -torch.inf), memory.masked_fill(shut, -torch.inf)

    def _frozen(self, hidden: Tensor) -> Tensor:
        """(B, V) frozen logits in the backbone's dtype; replaced rows are -inf."""
        logits = self.lm.head.native(hidden)
        return logits.index_fill_(-1, self._replaced, -torch.inf) if len(self._replaced) else logits

    def _tokens(self, frozen: Tensor | None, memory: Tensor | None, rows: Sequence[Row]) -> list[int]:
        """The token that each row writes: chosen from the given logits, unless another one is forced."""
        parts = [part for part in (frozen, memory) if part is not None and part.shape[-1]]
        settings, vocab = self.settings, 0 if frozen is None else frozen.shape[-1]
        draws = [row.draws.random() for row in rows] if settings.temperature else []
        picks = choose(parts, settings.temperature, settings.top_p, draws)
        if memory is not None and memory.shape[-1]:
            heads = self.lm.bank.head_ids[(picks - vocab).clamp(min=0)]
            picks = torch.where(picks < vocab, picks, heads)
        return [self._scripted(row, token) for row, token in zip(rows, picks.tolist(), strict=True)]

    def _scripted(self, row: Row, token: int) -> int:
        """Replaces the chosen token by a queued one, or by a forced procedure at the boundary of a turn."""
        if row.queue:
            return row.queue.popleft()
        names: tuple[str, ...] = (self.heads[token],) if token in self.heads else ()
        if row.procedures is not None and (not row.ids or names or token in self.stops):
            forced = row.procedures.popleft() if row.procedures else ()
            token, names = (
                min(self.stops) if names else token,
                (forced,) if isinstance(forced, str) else forced,
            )
        if names:
            token, *later = [i for name in names for i in self.lm.bank.slots.ids(name)]
            row.queue.extend(later)
            row.guide = self.guides.open(names[-1]) if self.guides else None
        elif row.guide and token not in self.stops:
            row.guide.accept(token)
        return token

    def _guided(
        self, frozen: Tensor, memory: Tensor | None, rows: Sequence[Row]
    ) -> tuple[Tensor, Tensor | None]:
        """Sets logits that a row's grammar does not allow to -inf, in copies."""
        guides = {i: row.guide for i, row in enumerate(rows) if row.guide and not row.queue}
        if not guides or memory is None:
            return frozen, memory
        device = frozen.device
        index = torch.tensor([*guides], device=device)
        allowed = torch.stack([guide.allowed() for guide in guides.values()]).to(device)
        frozen = frozen.index_put((index,), frozen[index].masked_fill(~allowed, -torch.inf))
        closed = [i for i, guide in guides.items() if not guide.complete]
        closed_index = torch.tensor(closed, dtype=torch.long, device=device)
        return frozen, memory.index_fill(0, closed_index, -torch.inf)
