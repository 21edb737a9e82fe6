"""Samples e-mail addresses, paths of files and rows of CSV."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tokmem.mini.family import Sampler
from tokmem.mini.lexicon import (
    COLORS,
    NAMES,
    NOUNS,
    PLACES,
    SURNAMES,
    THINGS,
)

DOMAINS = tuple(f"{host}.{end}" for host in ("mail", "post", *PLACES) for end in ("com", "org", "net"))
_EXTENSIONS = ("txt", "csv", "doc", "png", "zip")


def email(template: str, query: str = "{first}.{last}@{domain}") -> Sampler:
    """Rewrites an e-mail address; the template may use `First`, `Last` (with a capital), `first`, `last`."""

    def sample(rng: Random) -> tuple[str, str]:
        first, last, domain = rng.choice(NAMES), rng.choice(SURNAMES), rng.choice(DOMAINS)
        host, _, end = domain.partition(".")
        parts = {"First": first, "Last": last, "domain": domain, "host": host, "end": end}
        parts |= {"first": first.lower(), "last": last.lower()}
        return query.format(**parts), template.format(**parts)

    return sample


def path(answer: Callable[[list[str], str, str], str], low: int = 1) -> Sampler:
    """Answers about a path from its `low` to three folders, the stem of its file and the extension."""

    def sample(rng: Random) -> tuple[str, str]:
        *folders, stem = rng.sample(NOUNS, rng.randint(low, 3) + 1)
        extension = rng.choice(_EXTENSIONS)
        return "/".join([*folders, f"{stem}.{extension}"]), answer(folders, stem, extension)

    return sample


def csv_row(template: str) -> Sampler:
    """Puts the thing `{a}`, the number `{b}` and the color `{c}` of a CSV row into a template."""

    def sample(rng: Random) -> tuple[str, str]:
        cells = {"a": rng.choice(THINGS), "b": rng.randint(2, 99), "c": rng.choice(COLORS)}
        return "{a},{b},{c}".format(**cells), template.format(**cells)

    return sample
