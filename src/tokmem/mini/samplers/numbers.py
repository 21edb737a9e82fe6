"""Samples numbers and short lists of numbers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tokmem.mini.family import Sampler


def number(
    answer: Callable[[int], str], low: int = 1, high: int = 999, keep: Callable[[int], bool] = lambda n: True
) -> Sampler:
    """Samples a number from ``low`` to ``high`` that ``keep`` accepts."""
    pool = tuple(n for n in range(low, high + 1) if keep(n))

    def sample(rng: Random) -> tuple[str, str]:
        n = rng.choice(pool)
        return str(n), answer(n)

    return sample


def listed(answer: Callable[[list[int]], str], sizes: range = range(3, 7), top: int | None = None) -> Sampler:
    """Samples different numbers separated by spaces, up to ``top`` (by default 9 or 99)."""

    def sample(rng: Random) -> tuple[str, str]:
        numbers = rng.sample(range(1, (top or rng.choice((9, 99))) + 1), rng.choice(sizes))
        return " ".join(map(str, numbers)), answer(numbers)

    return sample


def joined(numbers: list[int], separator: str = " ") -> str:
    """Writes the numbers with a separator between them."""
    return separator.join(map(str, numbers))
