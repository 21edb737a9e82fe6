"""Reads prompts without padding, and reads beginnings that they share once.

Sorted prompts form a tree of segments; a segment is a run of tokens that follows another segment. The reader
reads shared segments first, level by level, and then the end of each prompt. It packs segments side by side,
each behind the keys and values of the segments before it.

Letters: G key-value heads, L positions, D head size, d hidden size, N prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tokmem.model.memory_lm import MemoryLM
from tokmem.model.packed import Past
from tokmem.model.prefix import read_packed
from tokmem.model.prefix_tree import RECALL, Ids, shared_ends


@dataclass(eq=False)
class Segment:
    """Tokens that follow another segment, or that begin a prompt.

    Attributes:
        ids: its own tokens, at least one.
        parent: the segment before it; None if it begins the prompt.
        states: for each layer the keys and values (G, L, D) from the start of the prompt to the end of the
            segment; empty until the segment has been read.
    """

    ids: tuple[int, ...]
    parent: Segment | None
    states: Past = ()

    @property
    def unread(self) -> list[Segment]:
        """The segments before it that have not been read, in the order of the prompt."""
        parent = self.parent
        return [] if parent is None or parent.states else [*parent.unread, parent]


@dataclass(frozen=True)
class ReadPrompt:
    """The states that decoding needs of a prompt.

    Attributes:
        parts: keys and values of consecutive parts of the prompt; each has a pair (G, L, D) for each layer.
        hidden: (d,) last hidden state of the last position.
    """

    parts: tuple[Past, ...]
    hidden: Tensor


def plan_segments(prompts: Sequence[Ids], share: bool) -> list[Segment]:
    """Plans the segments of prompts.

    Args:
        prompts: in lexicographic order.
        share: whether prompts share segments; if not, each prompt is one segment.

    Returns:
        the last segment of each prompt, which no other prompt has.
    """
    ends = shared_ends(prompts, RECALL) if share else [()] * len(prompts)
    shared: dict[Ids, Segment] = {}  # by whole beginning
    last: list[Segment] = []
    for prompt, cuts in zip(prompts, ends, strict=True):
        parent: Segment | None = None
        for start, end in pairwise((0, *cuts)):
            whole = prompt[:end]
            if whole not in shared:
                shared[whole] = Segment(prompt[start:end], parent)
            parent = shared[whole]
        last.append(Segment(prompt[cuts[-1] if cuts else 0 :], parent))
    return last


class PromptReader:
    """Reads prompts in waves.

    The waves depend only on the prompts, never on the course of decoding.

    Args:
        lm: the model.
        prompts: in lexicographic order, none longer than `lm.longest_packed`.
        share: whether shared beginnings are read once.
        tokens: most tokens in a wave of several prompts.
    """

    def __init__(self, lm: MemoryLM, prompts: Sequence[tuple[int, ...]], share: bool, tokens: int) -> None:
        self.lm, self.tokens = lm, tokens
        self._ends = plan_segments(prompts, share)[::-1]

    def __len__(self) -> int:
        """The number of prompts that have not been read."""
        return len(self._ends)

    def wave(self) -> list[ReadPrompt]:
        """Reads the next prompts, at least one."""
        chosen: list[Segment] = []
        levels: dict[Segment, int] = {}
        room = self.tokens
        while self._ends:
            end = self._ends[-1]
            new = [segment for segment in end.unread if segment not in levels]
            room -= sum(len(segment.ids) for segment in (*new, end))
            if chosen and room < 0:
                break
            levels |= {segment: level for level, segment in enumerate(end.unread)}
            chosen.append(self._ends.pop())
        for level in sorted(set(levels.values())):
            self._read_shared([segment for segment, its in levels.items() if its == level])
        own, hidden = self._read(chosen)
        return [
            ReadPrompt((end.parent.states, states) if end.parent else (states,), last)
            for end, states, last in zip(chosen, own, hidden, strict=True)
        ]

    def _read_shared(self, segments: Sequence[Segment]) -> None:
        own, _ = self._read(segments)
        for segment, states in zip(segments, own, strict=True):
            before = segment.parent.states if segment.parent else ((k[:, :0], v[:, :0]) for k, v in states)
            # Copies: a view would keep the states of the whole row in memory.
            segment.states = [
                (torch.cat([k, key], 1), torch.cat([v, value], 1))
                for (k, v), (key, value) in zip(before, states, strict=True)
            ]

    def _read(self, segments: Sequence[Segment]) -> tuple[list[Past], Tensor]:
        """Reads segments whose parents have been read: their own keys and values, and their last states."""
        before = [(segment.parent.states,) if segment.parent else () for segment in segments]
        return read_packed(self.lm, [segment.ids for segment in segments], before if any(before) else ())
