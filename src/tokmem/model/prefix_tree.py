"""Stems: beginnings that several prompts have in common, to be read once.

A plan is a function of the prompts alone. It fixes which stems there are and which are read side by side, so
that a stem has the same bits whenever and wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

Ids = tuple[int, ...]
# A stem pays its way in bookkeeping from about this many tokens that need not be read again.
LEAST_SAVED = 32


@dataclass(frozen=True)
class Place:
    """Where a stem stands in its plan: number of the pack, and of the stem in it."""

    pack: int
    index: int


@dataclass(frozen=True)
class Stem:
    """Tokens that follow a parent stem, or that begin a prompt.

    Attributes:
        ids: its own tokens.
        parent: the stem before it; None where it begins the prompt.
    """

    ids: Ids
    parent: Place | None


@dataclass(frozen=True)
class StemPlan:
    """The stems of a set of prompts.

    Attributes:
        packs: stems that are read together; parents stand in earlier packs.
        places: the last stem of each prompt that has one. At least one token of the prompt is left over.
    """

    packs: tuple[tuple[Stem, ...], ...] = ()
    places: dict[Ids, Place] = field(default_factory=dict)

    def shared(self, prompt: Ids) -> int:
        """How many tokens of a prompt are in its stems."""
        length, place = 0, self.places.get(prompt)
        while place is not None:
            stem = self.packs[place.pack][place.index]
            length, place = length + len(stem.ids), stem.parent
        return length


def plan_stems(prompts: Iterable[Ids], pack_tokens: int) -> StemPlan:
    """Finds the stems of prompts, and packs those of equal depth together.

    Args:
        prompts: token ids of each; order and repeats do not matter.
        pack_tokens: most tokens in a pack of several stems.
    """
    ends = dict(_ends(sorted(set(prompts))))
    places: dict[Ids, Place] = {}  # by whole beginning
    packs: list[tuple[Stem, ...]] = []
    for depth in range(max(map(len, ends.values()), default=0)):
        parents = {ids[: e[depth]]: ids[: e[depth - 1]] for ids, e in ends.items() if len(e) > depth}
        if depth == 0:
            parents = dict.fromkeys(parents, ())
        wholes = sorted(parents)
        for chosen in pack([len(w) - len(parents[w]) for w in wholes], pack_tokens):
            stems = [
                Stem(whole[len(parents[whole]) :], places.get(parents[whole]))
                for whole in (wholes[i] for i in chosen)
            ]
            places |= {wholes[i]: Place(len(packs), n) for n, i in enumerate(chosen)}
            packs.append(tuple(stems))
    return StemPlan(tuple(packs), {ids: places[ids[: e[-1]]] for ids, e in ends.items() if e})


def _ends(prompts: Sequence[Ids]) -> Iterator[tuple[Ids, Ids]]:
    """Each of the sorted prompts, with the lengths at which its stems end, rising."""
    groups: list[tuple[int, int, Ids]] = [(0, len(prompts), ())]
    while groups:
        first, last, ends = groups.pop()
        if last - first < 2:
            yield from ((ids, ends) for ids in prompts[first:last])
            continue
        common = _common(prompts[first], prompts[last - 1])  # of all between them, for they are sorted
        length, before = min(common, len(prompts[first]) - 1), ends[-1] if ends else 0
        spans, start = [], first
        for _, branch in groupby(ids[common : common + 1] for ids in prompts[first:last]):
            spans.append((start, start := start + len(list(branch))))
        readers = sum(_readers(prompts, span, common) for span in spans)
        if (readers - 1) * (length - before) >= LEAST_SAVED:
            ends = (*ends, length)
        groups += [(*span, ends) for span in spans]


def _readers(prompts: Sequence[Ids], span: tuple[int, int], length: int) -> int:
    """How often a branch reads what stands before `length`: once where it begins with a stem of its own."""
    first, last = span
    own = _common(prompts[first], prompts[last - 1]) - length
    return 1 if (last - first - 1) * own >= LEAST_SAVED else last - first


def _common(one: Ids, other: Ids) -> int:
    """Length of the longest common beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def pack(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Deals indices in their order into packs of at most `tokens`, or of one index."""
    packs: list[list[int]] = []
    room = 0
    for i, length in enumerate(lengths):
        room -= length
        if room < 0:
            packs.append([])
            room = tokens - length
        packs[-1].append(i)
    return packs
