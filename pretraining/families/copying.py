"""The family that copies its input unchanged: the base of everything else."""

from __future__ import annotations

from random import Random

from pretraining.families import dates, formats, lists, numbers, records, sentences, words
from pretraining.families.family import trained
from tokmem.mini.family import Family

_SOURCES = (words, lists, numbers, dates, records, sentences, formats)


def _copy(rng: Random) -> tuple[str, str]:
    """Borrows an input of another family as query and response."""
    family = rng.choice(rng.choice(_SOURCES).FAMILIES)
    query, _ = family.sample(rng)
    return query, query


FAMILIES: tuple[Family, ...] = (
    trained(
        "copy", _copy,
        "Repeat the input exactly.", "Copy the text without any change.", "Write the same text again.",
        "Say it back word for word.", "Echo what is given.",
    ),
)  # fmt: skip
