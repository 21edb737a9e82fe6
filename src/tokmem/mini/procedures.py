"""The registry of generated procedures, and the line between trained and held-out inputs."""

from __future__ import annotations

import hashlib
from random import Random

from tokmem.mini.families import copying, dates, formats, lists, numbers, records, sentences, words
from tokmem.mini.families.family import Family

FAMILIES: tuple[Family, ...] = (
    *words.FAMILIES,
    *lists.FAMILIES,
    *numbers.FAMILIES,
    *dates.FAMILIES,
    *records.FAMILIES,
    *sentences.FAMILIES,
    *formats.FAMILIES,
    *copying.FAMILIES,
)
TRAINED = tuple(f for f in FAMILIES if f.split == "trained")
SETTINGS = tuple(f for f in FAMILIES if f.split == "settings")
DEMO = tuple(f for f in FAMILIES if f.split == "demo")


def is_held_out_input(query: str) -> bool:
    """Whether a query belongs to the eighth of all inputs that no training of the backbone ever sees."""
    return hashlib.sha256(query.encode()).digest()[0] < 32


def sample_input(family: Family, rng: Random, *, held_out: bool) -> tuple[str, str]:
    """Draws (query, response) of a family from the held-out inputs, or from all the others."""
    while True:
        query, response = family.sample(rng)
        if is_held_out_input(query) == held_out:
            return query, response
