"""Plans which beginnings of prompts are read once for all the prompts that share them.

In lexicographic order prompts form a tree. A plan is a function of the prompts alone: it fixes which
beginnings are read apart and which are read together, so that a state has the same bits whenever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Ids = tuple[int, ...]


@dataclass(frozen=True)
class SharingRule:
    """Decides when a shared beginning is worth a pass of its own.

    Training and recall have different rules, and must keep them: the plan decides the shapes of batches, and
    the shapes decide the last bits of results.

    Attributes:
        least_saved: how many tokens the pass must save; bookkeeping and another pass over the weights cost as
            much as some dozens of tokens.
        by_branch: True counts every branch of the tree as one reader of the beginning, and leaves the last
            token of every prompt out of the tree. False counts all prompts of a branch, unless the branch has
            a beginning of its own that is worth a pass.
    """

    least_saved: int
    by_branch: bool


TRAINING = SharingRule(least_saved=32, by_branch=False)
RECALL = SharingRule(least_saved=64, by_branch=True)


def shared_ends(prompts: Sequence[Ids], rule: SharingRule) -> list[Ids]:
    """Finds the beginnings that each prompt shares with others.

    Args:
        prompts: token ids of each, in lexicographic order; distinct unless `rule.by_branch`.
        rule: which beginnings are worth a pass.

    Returns:
        for each prompt the lengths at which its shared beginnings end, rising; all are shorter than the
        prompt. Prompts that share the last beginning share all beginnings before it.
    """
    common = [_common(*pair, spare=int(rule.by_branch)) for pair in pairwise(prompts)]
    found: list[Ids] = []
    groups: list[tuple[int, int, Ids]] = [(0, len(prompts), ())]
    while groups:
        first, last, ends = groups.pop()
        if last - first < 2:
            found += [ends] * (last - first)
            continue
        shared = min(common[first : last - 1])
        cuts = [first, *(k + 1 for k in range(first, last - 1) if common[k] == shared), last]
        branches = list(pairwise(cuts))
        readers = sum(_readers(common[a : b - 1], shared, rule) for a, b in branches)
        end = min(shared, len(prompts[first]) - 1)
        if (readers - 1) * (end - (ends[-1] if ends else 0)) >= rule.least_saved:
            ends = (*ends, end)
        groups += [(*branch, ends) for branch in reversed(branches)]
    return found


def _common(one: Ids, other: Ids, spare: int) -> int:
    """Length of the longest common beginning that leaves `spare` tokens of both."""
    most = min(len(one), len(other)) - spare
    return next((i for i in range(most) if one[i] != other[i]), most)


def _readers(common: Sequence[int], shared: int, rule: SharingRule) -> int:
    """How often a branch reads the first `shared` tokens.

    Args:
        common: lengths that neighbouring prompts of the branch have in common; one less than its prompts.
        shared: length that all branches have in common.
        rule: see `SharingRule`.
    """
    if rule.by_branch or not common or len(common) * (min(common) - shared) >= rule.least_saved:
        return 1
    return len(common) + 1


@dataclass(frozen=True)
class Place:
    """The place of a stem in its plan: the number of the pack, and the stem's number in the pack."""

    pack: int
    index: int


@dataclass(frozen=True)
class Stem:
    """Tokens that follow a parent stem, or that begin a prompt.

    Attributes:
        ids: its own tokens.
        parent: the stem before it; None if it begins the prompt.
    """

    ids: Ids
    parent: Place | None


@dataclass(frozen=True)
class StemPlan:
    """The stems of a set of prompts: beginnings that several of them share.

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
    """Finds the stems of prompts, and packs stems of equal depth together.

    Args:
        prompts: token ids of each; order and repeats do not matter.
        pack_tokens: most tokens in a pack of several stems.
    """
    distinct = sorted(set(prompts))
    ends = dict(zip(distinct, shared_ends(distinct, TRAINING), strict=True))
    places: dict[Ids, Place] = {}  # by whole beginning
    packs: list[tuple[Stem, ...]] = []
    for depth in range(max(map(len, ends.values()), default=0)):
        parents = {ids[: e[depth]]: ids[: (0, *e)[depth]] for ids, e in ends.items() if len(e) > depth}
        wholes = sorted(parents)
        for chosen in pack([len(w) - len(parents[w]) for w in wholes], pack_tokens):
            stems = [
                Stem(whole[len(parents[whole]) :], places.get(parents[whole]))
                for whole in (wholes[i] for i in chosen)
            ]
            places |= {wholes[i]: Place(len(packs), n) for n, i in enumerate(chosen)}
            packs.append(tuple(stems))
    return StemPlan(tuple(packs), {ids: places[ids[: e[-1]]] for ids, e in ends.items() if e})


def pack(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Groups indices in their order; a group has at most `tokens` tokens, or one index.

    Args:
        lengths: tokens of each index.
        tokens: most tokens in a group of several.
    """
    packs: list[list[int]] = []
    room = 0
    for i, length in enumerate(lengths):
        room -= length
        if room < 0:
            packs.append([])
            room = tokens - length
        packs[-1].append(i)
    return packs
