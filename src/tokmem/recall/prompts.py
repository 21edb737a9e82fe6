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
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tokmem.model.memory_lm import MemoryLM
from tokmem.model.packed import Past

# Tokens that a segment of its own must save: another pass over the weights costs as much as some dozens.
LEAST_SAVED = 64


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


def plan_segments(prompts: Sequence[tuple[int, ...]], share: bool) -> list[Segment]:
    """The last segment of each prompt, which no other prompt has.

    Args:
        prompts: in lexicographic order.
        share: whether prompts share segments; else each is one segment.
    """
    if not share:
        return [Segment(prompt, None) for prompt in prompts]
    common = [_common(a, b) for a, b in pairwise(prompts)]
    ends: list[Segment] = []
    spans: list[tuple[int, int, Segment | None, int]] = [(0, len(prompts), None, 0)]
    while spans:
        first, last, parent, start = spans.pop()
        if last - first <= 1:
            ends += [Segment(prompt[start:], parent) for prompt in prompts[first:last]]
            continue
        end = min(common[first : last - 1])
        cuts = [first, *(k + 1 for k in range(first, last - 1) if common[k] == end), last]
        if (end - start) * (len(cuts) - 2) >= LEAST_SAVED:
            parent, start = Segment(prompts[first][start:end], parent), end
        spans += [(a, b, parent, start) for a, b in reversed(list(pairwise(cuts)))]
    return ends


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike; at least one of each is left over."""
    most = min(len(one), len(other)) - 1
    return next((i for i in range(most) if one[i] != other[i]), most)


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
        lengths, cache = [len(segment.ids) for segment in segments], DynamicCache()
        states = self.lm.packed([segment.ids for segment in segments], _pasts(segments), cache)
        layers: list[Any] = cache.layers
        pairs = [
            zip(*(x[0].split(lengths, 1) for x in (layer.keys, layer.values)), strict=True)
            for layer in layers
        ]
        lasts = torch.tensor(lengths, device=states.device).cumsum(0) - 1
        return [list(own) for own in zip(*pairs, strict=True)], states[lasts]


def _pasts(segments: Sequence[Segment]) -> list[Past]:
    """What stands before each, as `packed` takes it: none has a past or all have, some of zero length."""
    known = next((s.parent.states for s in segments if s.parent), None)
    if known is None:
        return []
    nothing = [(key[:, :0], value[:, :0]) for key, value in known]
    return [segment.parent.states if segment.parent else nothing for segment in segments]
