"""Prompts read without padding, and what they begin with alike read once.

Prompts in their lexicographic order form a tree: a segment is a run of tokens that stands after another
segment. The segments of a tree that prompts share are read first, level by level, then the ends of the
prompts; each is packed beside others, behind the keys and values of what stands before it.

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
    """Tokens that stand after those of another segment.

    Attributes:
        ids: its own tokens, at least one.
        parent: what stands before it; None at the start of a prompt.
        states: keys and values from the start of the prompt to its end, a pair a layer of (G, L, D); empty
            before it is read.
    """

    ids: tuple[int, ...]
    parent: Segment | None
    states: Past = ()

    @property
    def unread(self) -> list[Segment]:
        """The segments before it that have not been read, from the start of the prompt."""
        parent = self.parent
        return [] if parent is None or parent.states else [*parent.unread, parent]


@dataclass(frozen=True)
class ReadPrompt:
    """What decoding needs of a prompt.

    Attributes:
        parts: keys and values of its stretches, in order, each a pair a layer of (G, L, D).
        hidden: (d,) last hidden state of its last position.
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

    A wave is a function of the prompts alone, never of how decoding goes on.

    Args:
        lm: the model.
        prompts: in lexicographic order, none longer than the model's `longest_packed`.
        share: whether what prompts begin with alike is read once.
        tokens: most tokens to read in a wave, or one prompt.
    """

    def __init__(self, lm: MemoryLM, prompts: Sequence[tuple[int, ...]], share: bool, tokens: int) -> None:
        self.lm, self.tokens = lm, tokens
        self._ends = plan_segments(prompts, share)[::-1]

    def __len__(self) -> int:
        """Prompts that are still to be read."""
        return len(self._ends)

    def wave(self) -> list[ReadPrompt]:
        """Reads the next prompts, one at the least."""
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
            # Of their own: a view would keep the whole batch.
            segment.states = [
                (torch.cat([k, key], 1), torch.cat([v, value], 1))
                for (k, v), (key, value) in zip(before, states, strict=True)
            ]

    def _read(self, segments: Sequence[Segment]) -> tuple[list[Past], Tensor]:
        """Own keys and values of segments whose parents have been read, and their last states."""
        return read_packed(self.lm, [segment.ids for segment in segments], _pasts(segments))


def _pasts(segments: Sequence[Segment]) -> list[Past]:
    """What stands before each, as `packed` takes it: none has a past or all have, some of zero length."""
    known = next((s.parent.states for s in segments if s.parent), None)
    if known is None:
        return []
    nothing = [(key[:, :0], value[:, :0]) for key, value in known]
    return [segment.parent.states if segment.parent else nothing for segment in segments]
