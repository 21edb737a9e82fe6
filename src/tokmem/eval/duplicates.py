"""Finds procedures with nearly the same description: no router can tell their queries apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokmem.records import Procedure

_WORD = re.compile(r"\w+")


class NearDuplicate(NamedTuple):
    """Two procedures with nearly the same description; similarity 1 means the same set of words."""

    first: str
    second: str
    similarity: float


def near_duplicates(procedures: Iterable[Procedure], threshold: float = 0.9) -> list[NearDuplicate]:
    """Returns pairs of procedures whose descriptions share nearly all words, the most similar pair first.

    The similarity is the Jaccard index of the two sets of words: the number of shared words over the number
    of all words. Case, punctuation, order and repetition do not count. A procedure without a description is
    in no pair.

    Args:
        procedures: the procedures; a thousand take about a second.
        threshold: least similarity of a pair, above 0 and at most 1.
    """
    worded = [(frozenset(_WORD.findall(p.description.casefold())), p.name) for p in procedures]
    by_size = sorted((entry for entry in worded if entry[0]), key=lambda entry: len(entry[0]))
    place = {name: number for number, (_, name) in enumerate(worded)}
    pairs = []
    for number, (words, name) in enumerate(by_size):
        for others, other in by_size[number + 1 :]:
            if len(words) / len(others) < threshold:
                break  # from here on even a subset is too small
            shared = len(words & others)
            similarity = shared / (len(words) + len(others) - shared)
            if similarity >= threshold:
                first, second = sorted((name, other), key=place.__getitem__)
                pairs.append(NearDuplicate(first, second, similarity))
    return sorted(pairs, key=lambda pair: (-pair.similarity, place[pair.first], place[pair.second]))
