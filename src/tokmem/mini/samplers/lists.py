"""Samples written lists: `a, b, c`, `a; b; c`, `a | b | c`, `[a, b, c]` and `1. a 2. b 3. c`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tokmem.mini.family import Sampler
from tokmem.mini.lexicon import (
    COLORS,
    JOBS,
    NAMES,
    NOUNS,
)

Items = Sequence[str]
Form = Callable[[Items], str]
_POOLS = (NOUNS, NOUNS, NOUNS, NAMES, JOBS + COLORS)
comma: Form = ", ".join
semicolon: Form = "; ".join
bar: Form = " | ".join


def bracket(items: Items) -> str:
    """Writes the items as `[a, b, c]`."""
    return f"[{comma(items)}]"


def numbered(items: Items) -> str:
    """Writes the items as `1. a 2. b 3. c`."""
    return " ".join(f"{i}. {item}" for i, item in enumerate(items, start=1))


PLAIN = (comma, semicolon, bar, bracket)
ANY = (*PLAIN, numbered)


def draw(rng: Random, low: int) -> list[str]:
    """Draws `low` to 6 distinct items from one pool."""
    return rng.sample(rng.choice(_POOLS), rng.randint(low, 6))


def tell(answer: Callable[[Items], str], forms: Sequence[Form] = ANY, low: int = 3) -> Sampler:
    """Asks about a list in one of the forms; the answer does not depend on the form."""

    def sample(rng: Random) -> tuple[str, str]:
        items = draw(rng, low)
        return rng.choice(forms)(items), answer(items)

    return sample


def edit(change: Callable[[list[str]], Items], forms: Sequence[Form] = PLAIN, low: int = 3) -> Sampler:
    """Changes the items of a list and writes the result in the form of the query."""

    def sample(rng: Random) -> tuple[str, str]:
        items, form = draw(rng, low), rng.choice(forms)
        return form(items), form(change(items))

    return sample
