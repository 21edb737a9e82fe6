"""Samples English sentences, such as `The small dog opened the red box`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from tokmem.mini.family import Sampler
from tokmem.mini.lexicon import (
    ANIMALS,
    COLORS,
    JOBS,
    NAMES,
    THINGS,
    VERBS,
)

_PARTICIPLES = {"see": "seen", "break": "broken", "take": "taken", "draw": "drawn", "hide": "hidden"}
_UNCOUNTABLE = {"rain", "snow", "wind", "fire", "sand", "grass"}
_SUBJECTS = ANIMALS + JOBS
_TRAITS = tuple("big small old young tall happy sad angry calm brave shy kind clever strong quiet".split())
OBJECTS = tuple(thing for thing in THINGS if thing not in _UNCOUNTABLE)


@dataclass(frozen=True)
class Clause:
    """A past-tense clause; `who` and `what` are noun phrases as they stand inside a sentence."""

    trait: str
    subject: str
    verb: tuple[str, str, str, str]
    color: str
    thing: str

    @property
    def who(self) -> str:
        """The subject phrase: `the small dog`, or a bare name."""
        return self.subject if self.subject in NAMES else _phrase(self.trait, self.subject)

    @property
    def what(self) -> str:
        """The object phrase: `the red box`."""
        return _phrase(self.color, self.thing)

    @property
    def base(self) -> str:
        """The verb as in `open`."""
        return self.verb[0]

    @property
    def past(self) -> str:
        """The verb as in `opened`."""
        return self.verb[2]

    @property
    def participle(self) -> str:
        """The verb as in `was broken`."""
        return _PARTICIPLES.get(self.base, self.past)

    @property
    def active(self) -> str:
        """The plain statement."""
        return self.fill("{c.who} {c.past} {c.what}.")

    @property
    def passive(self) -> str:
        """The statement in the passive voice."""
        return self.fill("{c.what} was {c.participle} by {c.who}.")

    def fill(self, template: str) -> str:
        """Puts the clause, as `c`, into a template and starts the result with a capital."""
        text = template.format(c=self)
        return text[0].upper() + text[1:]


def _phrase(adjective: str, noun: str) -> str:
    """Writes a noun phrase; its adjective may be empty."""
    return f"the {adjective} {noun}" if adjective else f"the {noun}"


def full_clause(rng: Random) -> Clause:
    """Draws a clause with both adjectives."""
    return Clause(
        trait=rng.choice(_TRAITS),
        subject=rng.choice(_SUBJECTS),
        verb=rng.choice(VERBS),
        color=rng.choice(COLORS),
        thing=rng.choice(OBJECTS),
    )


def varied_clause(rng: Random) -> Clause:
    """Draws a clause in which adjectives may be missing and the subject may be a name."""
    clause = full_clause(rng)
    if rng.random() < 0.3:
        clause = replace(clause, subject=rng.choice(NAMES))
    if rng.random() < 0.3:
        clause = replace(clause, trait="")
    if rng.random() < 0.3:
        clause = replace(clause, color="")
    return clause


def statement(
    answer: Callable[[Clause], str],
    draw: Callable[[Random], Clause] = varied_clause,
    query: str = "{c.active}",
) -> Sampler:
    """Shows a clause as a statement, or by the query template, and answers from its parts."""

    def sample(rng: Random) -> tuple[str, str]:
        clause = draw(rng)
        return clause.fill(query), answer(clause)

    return sample


def rewrite(
    template: str, draw: Callable[[Random], Clause] = varied_clause, query: str = "{c.active}"
) -> Sampler:
    """Rewrites a clause by a template."""
    return statement(lambda clause: clause.fill(template), draw, query)
