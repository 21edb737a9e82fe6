"""Batched recall: one prefill, routing from its last state, decoding from its cache.

Prompts are sorted by length, batches hold prompts of similar length, rows leave the batch as they finish.
Letters: B rows still running, C cached positions, d hidden size, V rows of the backbone, P procedures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor
from transformers import DynamicCache

from tokmem.data.collate import left_pad
from tokmem.errors import ConfigError, RecallError
from tokmem.log import progress
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.parse import split_turns
from tokmem.recall.route import route
from tokmem.recall.sample import choose
from tokmem.records import Route
from tokmem.seeds import generator

Mode = Literal["atomic", "chain"]


@dataclass(frozen=True)
class RecallSettings:
    """How to recall.

    Attributes:
        mode: ``atomic`` allows one memory token, at the start; ``chain`` any number.
        reject: whether a query may be answered without a memory token, where an ordinary one beats them all.
        max_new_tokens: most tokens to write, memory tokens included.
        batch_size: prompts in a batch.
        top_k: routing candidates to keep.
        temperature: 0 is greedy.
        top_p: nucleus of sampling.
        seed: of sampling.
    """

    mode: Mode = "atomic"
    reject: bool = False
    max_new_tokens: int = 256
    batch_size: int = 32
    top_k: int = 5
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(f"mode {self.mode!r}", f"one of {', '.join(get_args(Mode))}")
        for name, good in (
            ("max_new_tokens", self.max_new_tokens >= 1),
            ("batch_size", self.batch_size >= 1),
            ("top_k", self.top_k >= 1),
            ("temperature", self.temperature >= 0),
            ("top_p", 0 < self.top_p <= 1),
        ):
            if not good:
                raise ConfigError(f"{name} {getattr(self, name)}", "a value in its range")


@dataclass
class Generation:
    """What was generated for one prompt.

    Attributes:
        text: ids before the first memory token.
        turns: (procedure, response ids).
        route: how the prompt was routed; None with an empty bank.
        finished: whether a stop token ended it.
        routes: how each turn's memory token was chosen, one a turn.
    """

    text: list[int]
    turns: list[tuple[str, list[int]]]
    route: Route | None
    finished: bool
    routes: list[Route]


@dataclass
class _Row:
    """A prompt under way: what it wrote, and what it still has to write whatever the model says."""

    route: Route | None
    procedures: deque[str]
    script: bool
    ids: list[int] = field(default_factory=list)
    queue: deque[int] = field(default_factory=deque)
    routes: list[Route] = field(default_factory=list)
    finished: bool = False


class Recaller:
    """Generates for many prompts.

    Args:
        lm: backbone and bank.
        stops: ids that end a response.
        settings: how to recall.

    Raises:
        RecallError: the backbone keeps a recurrent state, so that padded prompts cannot share a batch.
    """

    def __init__(self, lm: MemoryLM, stops: Sequence[int], settings: RecallSettings) -> None:
        if is_recurrent(lm.model) and settings.batch_size > 1:
            raise RecallError(
                f"{type(lm.model).__name__} keeps a recurrent state and batch_size is {settings.batch_size}",
                "batch_size 1 for such a backbone",
            )
        self.lm, self.stops, self.settings = lm, frozenset(stops), settings
        self.heads = {ids[0]: name for name, ids in lm.bank.memory.items()}
        self.forced_ids = frozenset(i for ids in lm.bank.memory.values() for i in ids[1:])

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        procedures: Sequence[Sequence[str]] | None = None,
        *,
        desc: str = "recall",
    ) -> list[Generation]:
        """Generates for each prompt, in order.

        Args:
            prompts: token ids up to where the first memory token will stand.
            procedures: procedures to force, a sequence a prompt: the first opens the response, each next one
                stands where the model would recall another or stop. None lets the model choose.
            desc: shown beside the progress bar.

        Raises:
            BankError: a forced procedure is not in the bank.
            RecallError: there are more or fewer prompts than sequences of procedures.
        """
        if procedures is not None and len(procedures) != len(prompts):
            raise RecallError(
                f"procedures for {len(procedures)} of {len(prompts)} queries",
                "a sequence of procedures for each query",
            )
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        results: dict[int, Generation] = {}
        draws = generator(self.settings.seed, "recall")
        size = self.settings.batch_size
        with torch.inference_mode(), progress(len(prompts), desc, unit="query") as bar:
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                forced = [deque(procedures[i]) if procedures is not None else deque() for i in chosen]
                batch = _Decoding(self, [prompts[i] for i in chosen], forced, procedures is not None, draws)
                for i, generation in zip(chosen, batch.run(), strict=True):
                    results[i] = generation
                bar.update(len(chosen))
        return [results[i] for i in range(len(prompts))]


class _Decoding:
    """One batch from prefill to its last finished row."""

    def __init__(
        self,
        recaller: Recaller,
        prompts: Sequence[Sequence[int]],
        forced: Sequence[deque[str]],
        script: bool,
        draws: torch.Generator,
    ) -> None:
        self.owner, self.lm, self.settings, self.draws = recaller, recaller.lm, recaller.settings, draws
        ids, self.mask, positions = (t.to(self.lm.device) for t in left_pad(prompts))
        self.cache = (
            DynamicCache(config=self.lm.model.config) if is_recurrent(self.lm.model) else DynamicCache()
        )
        self.hidden = self.lm.hidden(ids, self.mask, positions, self.cache)[:, -1]
        self.positions = positions[:, -1] + 1
        names = self.lm.bank.names
        routes: Sequence[Route | None] = self._routes(self.hidden) if names else [None] * len(prompts)
        self.rows = [_Row(r, f, script) for r, f in zip(routes, forced, strict=True)]
        self.all_rows = list(self.rows)

    def _routes(self, hidden: Tensor) -> list[Route]:
        """Ranks the procedures for each of (B, d) states."""
        return route(*self._logits(hidden), self.lm.bank.names, self.settings.top_k)

    def _logits(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, V) frozen logits with replaced rows at -inf, and (B, P) memory logits."""
        frozen, memory = self.lm.head.frozen(hidden), self.lm.head.memory(hidden)
        replaced = self.lm.head.replaced(frozen.shape[-1])
        return (frozen.index_fill(-1, replaced, -torch.inf) if len(replaced) else frozen), memory

    def run(self) -> list[Generation]:
        """Decodes until every row has stopped or is full."""
        while self.rows:
            tokens = self._next_tokens()
            keep = [i for i, row in enumerate(self.rows) if self._write(row, tokens[i])]
            if keep:
                self._advance(keep)
            self.rows = [self.rows[i] for i in keep]
        return [self._result(row) for row in self.all_rows]

    def _next_tokens(self) -> list[int]:
        frozen, memory = self._logits(self.hidden)
        first = not self.rows[0].ids
        if memory.shape[-1]:
            if first and not self.settings.reject:
                frozen = torch.full_like(frozen, -torch.inf)
            if self.settings.mode == "atomic" and not first:
                memory = torch.full_like(memory, -torch.inf)
        scores = torch.cat([frozen, memory], -1)
        picks = choose(scores, self.settings.temperature, self.settings.top_p, self.draws)
        vocab = frozen.shape[-1]
        if memory.shape[-1]:
            heads = self.lm.bank.head_ids[(picks - vocab).clamp(min=0)]
            picks = torch.where(picks < vocab, picks, heads)
        tokens = [self._scripted(row, token) for row, token in zip(self.rows, picks.tolist(), strict=True)]
        self._record_routes(tokens)
        return tokens

    def _record_routes(self, tokens: Sequence[int]) -> None:
        """Ranks the procedures for those rows alone whose token opens a turn."""
        recalling = [i for i, token in enumerate(tokens) if token in self.owner.heads]
        if not self.rows[0].ids:
            for i in recalling:
                self.rows[i].routes.append(cast(Route, self.rows[i].route))
        elif recalling:
            hidden = self.hidden[torch.tensor(recalling, device=self.hidden.device)]
            for i, found in zip(recalling, self._routes(hidden), strict=True):
                self.rows[i].routes.append(found)

    def _scripted(self, row: _Row, token: int) -> int:
        """What the row writes: its queue, then its forced procedures at each boundary, then its own token."""
        if row.queue:
            return row.queue.popleft()
        boundary = not row.ids or token in self.owner.heads or token in self.owner.stops
        if row.script and boundary:
            if row.procedures:
                token = self.lm.bank.slots.ids(row.procedures.popleft())[0]
            elif token in self.owner.heads:
                token = min(self.owner.stops)
        if token in self.owner.heads:
            row.queue.extend(self.lm.bank.slots.ids(self.owner.heads[token])[1:])
        return token

    def _write(self, row: _Row, token: int) -> bool:
        """Adds a token to a row; returns whether the row goes on."""
        if token in self.owner.stops:
            row.finished = True
            return False
        row.ids.append(token)
        return len(row.ids) < self.settings.max_new_tokens

    def _advance(self, keep: list[int]) -> None:
        """Drops the finished rows and runs the others' new tokens through the body."""
        if len(keep) < len(self.rows):
            index = torch.tensor(keep, device=self.mask.device)
            self.cache.batch_select_indices(index)
            self.mask, self.positions = self.mask[index], self.positions[index]
        ids = torch.tensor([[self.rows[i].ids[-1]] for i in keep], device=self.mask.device)
        self.mask = torch.cat([self.mask, torch.ones_like(ids)], 1)
        self.hidden = self.lm.hidden(ids, self.mask, self.positions[:, None], self.cache)[:, -1]
        self.positions = self.positions + 1

    def _result(self, row: _Row) -> Generation:
        text, turns = split_turns(row.ids, self.owner.heads, self.owner.forced_ids)
        return Generation(text, turns, row.route, row.finished, row.routes)
