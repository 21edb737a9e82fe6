"""Makes small word problems in the format of GSM8K.

A worked answer has one sentence a step with `<<3+4=7>>` in it, and ends with `#### 7`.
"""

from __future__ import annotations

import operator as op
import re
from dataclasses import dataclass
from random import Random

from tokmem.mini import lexicon

MAX_RESULT = 200
_UNCOUNTED = ("city", "man", "woman", "child", "tooth", "foot")
_SNACKS = "apple banana grape lemon lime mango melon olive onion orange pear plum carrot cookie".split()
COUNTABLES = tuple(pair for pair in lexicon.PLURALS if pair[0] not in _UNCOUNTED) + tuple(
    (word, word + "s") for word in _SNACKS
)


@dataclass(frozen=True)
class Problem:
    """A word problem and its worked answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Template:
    """A kind of problem: {A} {B} people, {s} {t} plural things, {x} {y} {z} numbers, {p} {q} results."""

    question: str
    ranges: dict[str, tuple[int, int]]  # number -> lowest, highest
    steps: tuple[tuple[str, str], ...]  # (expression such as "x+y", sentence with {p}; then with {q})


_SMALL, _BIG, _TABLE = (2, 20), (20, 90), (2, 10)

TEMPLATES = (
    Template("{A} has {x} {s}. {B} gives {A} {y} more. How many {s} does {A} have now?",
             {"x": _BIG, "y": _SMALL}, (("x+y", "{A} now has {p} {s}."),)),
    Template("{A} has {x} {s} and loses {y} of them. How many {s} are left?",
             {"x": _BIG, "y": _SMALL}, (("x-y", "There are {p} {s} left."),)),
    Template("There are {x} {s} and {y} {t} at the {place}. How many things are there in all?",
             {"x": _SMALL, "y": _BIG}, (("x+y", "In all there are {p} things."),)),
    Template("{A} fills {x} boxes with {y} {s} each. How many {s} are in the boxes?",
             {"x": _TABLE, "y": _TABLE}, (("x*y", "The boxes hold {p} {s}."),)),
    Template("{A} shares {x} {s} equally among {y} friends. How many {s} does each friend get?",
             {"x": (4, 100), "y": _TABLE}, (("x/y", "Each friend gets {p} {s}."),)),
    Template("{A} has {x} {s} and {B} has {y} {s}. How many more {s} does {A} have than {B}?",
             {"x": _BIG, "y": _SMALL}, (("x-y", "{A} has {p} more {s} than {B}."),)),
    Template("{A} needs {x} {s}. So far {A} has found {y}. How many {s} must {A} still find?",
             {"x": _BIG, "y": _SMALL}, (("x-y", "{A} must still find {p} {s}."),)),
    Template("{A} had {x} {s}, bought {y} more and then sold {z}. How many {s} does {A} have now?",
             {"x": _BIG, "y": _SMALL, "z": _SMALL},
             (("x+y", "{A} first had {p} {s}."), ("p-z", "After the sale {A} has {q} {s}."))),
    Template("{A} buys {x} bags of {y} {s} and gives {z} {s} to {B}. How many {s} does {A} keep?",
             {"x": _TABLE, "y": _TABLE, "z": _SMALL},
             (("x*y", "The bags hold {p} {s}."), ("p-z", "{A} keeps {q} {s}."))),
    Template("On {day} {A} sees {x} {s}. {B} sees {y} more than {A}. How many {s} do both see together?",
             {"x": _SMALL, "y": _SMALL},
             (("x+y", "{B} sees {p} {s}."), ("x+p", "Together they see {q} {s}."))),
    Template("{A} has {x} {s}. {B} has {y} fewer. How many {s} do they have together?",
             {"x": _BIG, "y": _SMALL},
             (("x-y", "{B} has {p} {s}."), ("x+p", "Together they have {q} {s}."))),
    Template("A {item} costs {x} dollars and a {other} costs {y} dollars. {A} pays with {z} dollars. "
             "How many dollars does {A} get back?",
             {"x": _SMALL, "y": _SMALL, "z": (20, 100)},
             (("x+y", "The cost is {p} dollars."), ("z-p", "{A} gets back {q} dollars."))),
    Template("{A} puts {x} {s}, {y} {t} and {z} pens in a bag. How many things are in the bag?",
             {"x": _SMALL, "y": _SMALL, "z": _SMALL},
             (("x+y", "Without the pens that is {p} things."), ("p+z", "With the pens it is {q} things."))),
    Template("The {place} has {x} rows of {y} {s} and {z} other {s}. How many {s} does it have?",
             {"x": _TABLE, "y": _TABLE, "z": _SMALL},
             (("x*y", "The rows have {p} {s}."), ("p+z", "In all it has {q} {s}."))),
    Template("{A} works {x} hours a day for {y} days. The {place} pays for {z} hours. "
             "How many hours are not paid?",
             {"x": _TABLE, "y": _TABLE, "z": _SMALL},
             (("x*y", "{A} works {p} hours."), ("p-z", "There are {q} hours not paid."))),
    Template("A bus has {x} people. At the {place} {y} get off and {z} get on. "
             "How many people are on the bus?",
             {"x": _BIG, "y": _SMALL, "z": _SMALL},
             (("x-y", "After {y} get off there are {p} people."), ("p+z", "Then there are {q} people."))),
    Template("{A} had some {s}. After giving {x} to {B}, {A} has {y} left. "
             "How many {s} did {A} have at first?",
             {"x": _SMALL, "y": _BIG}, (("x+y", "At first {A} had {p} {s}."),)),
    Template("{A} and {B} put {x} and {y} {s} in a box and share them equally. How many {s} does each get?",
             {"x": _SMALL, "y": _SMALL}, (("x+y", "The box has {p} {s}."), ("p/2", "Each gets {q} {s}."))),
    Template("A {item} costs {x} dollars. {A} wants {y} and has {z} dollars. "
             "How many more dollars does {A} need?",
             {"x": _TABLE, "y": _TABLE, "z": _SMALL},
             (("x*y", "The cost is {p} dollars."), ("p-z", "{A} needs {q} more dollars."))),
    Template("{A} reads {x} pages on {day} and twice as many the day after. "
             "How many pages does {A} read in all?",
             {"x": (2, 60)},
             (("2*x", "The day after {A} reads {p} pages."), ("x+p", "In all {A} reads {q} pages."))),
)  # fmt: skip

_OPERATIONS = {"+": op.add, "-": op.sub, "*": op.mul, "/": op.floordiv}


def _value(expression: str, numbers: dict[str, int]) -> tuple[str, int | None]:
    """Returns `3+4` and 7 for `x+y`; None if the result is not an integer in 0..MAX_RESULT."""
    left, operator, right = re.split(r"([-+*/])", expression)
    a, b = (numbers[term] if term in numbers else int(term) for term in (left, right))
    shown = f"{a}{operator}{b}"
    if operator == "/" and (b == 0 or a % b):
        return shown, None
    result = _OPERATIONS[operator](a, b)
    return shown, result if 0 <= result <= MAX_RESULT else None


def _solve(template: Template, rng: Random) -> tuple[dict[str, int], dict[str, str]]:
    """Draws numbers for which every step has a result, and writes each result with its annotation."""
    while True:
        numbers = {name: rng.randint(*bounds) for name, bounds in template.ranges.items()}
        texts: dict[str, str] = {}
        for name, (expression, _) in zip("pq", template.steps, strict=False):
            shown, result = _value(expression, numbers)
            if result is None:
                break
            numbers[name] = result
            texts[name] = f"<<{shown}={result}>>{result}"
        if len(texts) == len(template.steps):
            return numbers, texts


def _words(rng: Random) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Draws people, things and places for one problem, and the (singular, plural) pairs of its things."""
    names, things = rng.sample(lexicon.NAMES, 2), rng.sample(COUNTABLES, 2)
    item, other = rng.sample([pair[0] for pair in COUNTABLES if pair[0][0] not in "aeiou"], 2)
    words = {"A": names[0], "B": names[1], "s": things[0][1], "t": things[1][1], "item": item, "other": other}
    words["place"], words["day"] = rng.choice(lexicon.PLACES), rng.choice(lexicon.WEEKDAYS)
    units = [(unit, unit + "s") for unit in ("dollar", "hour", "page", "thing")]
    return words, [*things, *units]


def _agree(text: str, things: list[tuple[str, str]]) -> str:
    """Corrects `1 coins` to `1 coin` and `are 1` to `is 1`."""
    for singular, plural in things:
        text = re.sub(rf"(?<!\d)1 (more )?{plural}\b", rf"1 \g<1>{singular}", text)
    return re.sub(r"\b[Aa]re (\S*>>1 )", r"is \1", text)


def sample_problem(rng: Random, steps: int | None = None) -> Problem:
    """Draws a problem with 1 or 2 steps, or with ``steps`` steps."""
    template = rng.choice([t for t in TEMPLATES if steps in (None, len(t.steps))])
    return _render(template, rng)


def _render(template: Template, rng: Random) -> Problem:
    """Draws a problem of one template."""
    words, things = _words(rng)
    numbers, texts = _solve(template, rng)
    question = template.question.format(**words, **numbers)
    lines = [sentence.format(**{**words, **numbers, **texts}) for _, sentence in template.steps]
    final = numbers["pq"[len(template.steps) - 1]]
    return Problem(question, "\n".join([*(_agree(line, things) for line in lines), f"#### {final}"]))
