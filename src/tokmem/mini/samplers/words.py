"""Samples rows of words."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tokmem.mini.family import Sampler
from tokmem.mini.lexicon import (
    ADJECTIVES,
    COLORS,
    JOBS,
    NOUNS,
)

WORDS = tuple(dict.fromkeys(NOUNS + JOBS + COLORS + ADJECTIVES))


def words(answer: Callable[[list[str]], str], low: int = 3, high: int = 6) -> Sampler:
    """Answers about `low` to `high` distinct words separated by spaces."""

    def sample(rng: Random) -> tuple[str, str]:
        words = rng.sample(WORDS, rng.randint(low, high))
        return " ".join(words), answer(words)

    return sample


def swap_ends(words: list[str]) -> list[str]:
    """Exchanges the first and the last word."""
    return [words[-1], *words[1:-1], words[0]]
