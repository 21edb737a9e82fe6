"""Composes procedures from parts by the thousand, to train the bundled backbone.

A composition chooses or orders the items of a list and says how to join them, lays out a few fields of a
record, date, time, row, address or sentence, or changes several properties of a sentence at once. It never
asks for what the held-out families ask for (`DEMO` and `SETTINGS` of `tokmem.mini.procedures`): see
``HELD_OUT_ITEMS``, ``HELD_OUT_LAYOUTS`` and `sentence_composition`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tokmem.mini.lexicon import CITIES, COLORS, JOBS, MONTHS, NAMES, NOUNS, SURNAMES, THINGS
from tokmem.mini.samplers import dates, formats, records, sentences

Pair = tuple[str, str]
Items = list[str]


@dataclass(frozen=True)
class Composition:
    """A procedure drawn at random: one wording and a sampler of (query, response)."""

    key: tuple[str, ...]
    wording: str
    sample: Callable[[Random], Pair]


# --- items: which, in what order, joined how --------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Which items to keep, and in what order: a name, a phrase about `{n}`s, and the function."""

    name: str
    phrase: str
    apply: Callable[[Items], Items]


CHOICES = (
    Choice("all", "", lambda x: x),
    Choice("reverse", "put the {n}s in reverse order", lambda x: x[::-1]),
    Choice("backwards", "go from the last {n} to the first", lambda x: x[::-1]),
    Choice("drop first", "drop the first {n}", lambda x: x[1:]),
    Choice("drop last", "drop the last {n}", lambda x: x[:-1]),
    Choice("inner", "leave out the first and the last {n}", lambda x: x[1:-1]),
    Choice("ends", "keep only the first and the last {n}", lambda x: [x[0], x[-1]]),
    Choice("ends reversed", "write the last {n}, then the first", lambda x: [x[-1], x[0]]),
    Choice("first two", "keep only the first two {n}s", lambda x: x[:2]),
    Choice("last two", "keep only the last two {n}s", lambda x: x[-2:]),
    Choice("swap ends", "swap the first and the last {n}", lambda x: [x[-1], *x[1:-1], x[0]]),
    Choice("swap first two", "swap the first two {n}s", lambda x: [x[1], x[0], *x[2:]]),
    Choice("first to end", "move the first {n} to the end", lambda x: [*x[1:], x[0]]),
    Choice("last to front", "move the last {n} to the front", lambda x: [x[-1], *x[:-1]]),
    Choice("double first", "write the first {n} twice", lambda x: [x[0], *x]),
    Choice("double last", "write the last {n} twice", lambda x: [*x, x[-1]]),
    Choice("only second", "keep only the second {n}", lambda x: x[1:2]),
    Choice("drop second", "drop the second {n}", lambda x: [x[0], *x[2:]]),
)
JOINERS = {
    " ": "spaces",
    ", ": "commas",
    "; ": "semicolons",
    " | ": "bars",
    "-": "hyphens",
    "/": "slashes",
    "+": "plus signs",
    " + ": "plus signs and spaces",
    " > ": "the sign >",
    " -> ": "arrows ->",
    " and ": "the word and",
    " or ": "the word or",
    " & ": "ampersands",
    "_": "underscores",
    ".": "dots",
    ":": "colons",
    " = ": "equals signs",
    " then ": "the word then",
    "\n": "line breaks",
}
# The pairs that make up the held-out families, for any input.
HELD_OUT_ITEMS = {
    *(("drop first", joiner) for joiner in ("/", "+", " + ")),
    ("drop last", " > "),
    ("swap ends", "-"),
    ("inner", ", "),
    ("ends", " & "),
    ("reverse", " and "),
    ("backwards", " and "),
}

_WORDS = tuple(dict.fromkeys(NOUNS + JOBS + COLORS))
_FORMS: tuple[tuple[str, Callable[[Items], str]], ...] = (
    ("word", " ".join),
    ("word", " ".join),
    ("item", ", ".join),
    ("item", "; ".join),
    ("item", " | ".join),
    ("item", lambda x: f"[{', '.join(x)}]"),
    ("number", " ".join),
    ("number", ", ".join),
    ("name", ", ".join),
    ("folder", "/".join),
    ("word", "-".join),
)


def _draw_items(noun: str, rng: Random) -> Items:
    size = rng.randint(3, 6)
    if noun == "number":
        return [str(n) for n in rng.sample(range(1, 100), size)]
    return rng.sample(NAMES if noun == "name" else _WORDS, size)


def _item_wording(choice: Choice, joiner: str, noun: str, rng: Random) -> str:
    """Words the instruction, spelt out or terse."""
    phrase, named = choice.phrase.format(n=noun), JOINERS[joiner]
    shown = joiner.strip() or named
    if choice.name == "all":
        options = [f"Join the {noun}s with {named}.", f"Put {named} between the {noun}s.", f"all: {shown}"]
    elif choice.name == "only second":
        options = [f"{phrase.capitalize()}.", f"{choice.name}"]
    else:
        options = [
            f"{phrase.capitalize()} and join with {named}.",
            f"{phrase.capitalize()}, then put {named} between what is there.",
            f"Use {named} as separators and {phrase}.",
            f"With {named} in between, {phrase}.",
            f"{choice.name}: {shown}",
            f"{shown} {choice.name}",
        ]
    return rng.choice(options)


def items_composition(rng: Random) -> Composition:
    """Draws a choice of items and a way to join them."""
    while True:
        choice, joiner = rng.choice(CHOICES), rng.choice(tuple(JOINERS))
        noun, form = rng.choice(_FORMS)
        if (choice.name, joiner) not in HELD_OUT_ITEMS:
            break

    def sample(rng: Random) -> Pair:
        items = _draw_items(noun, rng)
        return form(items), joiner.join(choice.apply(items))

    return Composition((choice.name, joiner), _item_wording(choice, joiner, noun, rng), sample)


# --- fields: which of them, laid out how ------------------------------------------------------------

Fields = dict[str, str]
Draw = Callable[[Random], tuple[str, Fields]]


def _record(keys: Sequence[str], form: Callable[[records.Record], str]) -> Draw:
    def draw(rng: Random) -> tuple[str, Fields]:
        record: records.Record = {key: rng.choice(records.VALUES[key]) for key in keys}
        return form(record), {key: str(value) for key, value in record.items()}

    return draw


def _date(form: dates.DateForm) -> Draw:
    def draw(rng: Random) -> tuple[str, Fields]:
        day = dates.draw_date(rng)
        month = MONTHS[day.month - 1]
        fields = {"day": str(day.day), "month name": month, "short month": month[:3], "year": str(day.year)}
        return form(day), fields | {"month number": str(day.month)}

    return draw


def _time(rng: Random) -> tuple[str, Fields]:
    hour, minute = dates.draw_time(rng)
    return f"{hour:02}:{minute:02}", {"hour": str(hour), "minutes": str(minute)}


def _row(rng: Random) -> tuple[str, Fields]:
    cells = {"thing": rng.choice(THINGS), "number": str(rng.randint(2, 99)), "color": rng.choice(COLORS)}
    return ",".join(cells.values()), cells


def _email(rng: Random) -> tuple[str, Fields]:
    first, last = rng.choice(NAMES), rng.choice(SURNAMES)
    host, end = rng.choice(formats.DOMAINS).split(".")
    query = f"{first}.{last}@{host}.{end}".lower()
    return query, {"first name": first, "last name": last, "host": host, "ending": end}


def _clause(rng: Random) -> tuple[str, Fields]:
    c = sentences.full_clause(rng)
    fields = {"subject": c.subject, "trait": c.trait, "verb": c.past, "color": c.color, "thing": c.thing}
    return c.active, fields


def _place(rng: Random) -> tuple[str, Fields]:
    name, (city, country) = rng.choice(NAMES), rng.choice(CITIES)
    return f"{name} from {city}, {country}", {"name": name, "city": city, "country": country}


def _draws(rng: Random) -> tuple[str, Draw]:
    kind = rng.choice(("record", "record", "date", "date", "time", "row", "email", "clause", "place"))
    if kind == "record":
        keys = rng.sample(tuple(records.VALUES), 3)
        return kind, _record(keys, rng.choice((records.bars, records.equals, json.dumps)))
    if kind == "date":
        return kind, _date(rng.choice(dates.DATE_FORMS))
    return kind, {"time": _time, "row": _row, "email": _email, "clause": _clause, "place": _place}[kind]


_SEPARATORS = (
    " ", " ", ", ", ", ", ": ", ": ", " - ", "-", "/", " | ", "; ", " = ", "=", ".", "_", "+", " & ", " -> ",
    " in ", " of ", " from ", " past ", " with ", " and ", " at ", " to ", " is ", " or ",
)  # fmt: skip
_NAMED = {
    " ": "a space",
    ", ": "a comma",
    ": ": "a colon",
    "; ": "a semicolon",
    " | ": "a bar",
    "-": "a hyphen",
}
_TWO = (
    "{0}{s}{1}",
    "{0}{s}{1}",
    "{0}{s}{1}",
    "{0} ({1})",
    "{0} [{1}]",
    "({0}) {1}",
    "{0}{s}{1}.",
    "The {0}{s}{1}",
)
_THREE = ("{0}{s}{1}{t}{2}", "{0}{s}{1}{t}{2}", "{0}{s}{1} ({2})", "({0}{s}{1}) {2}")
_ONE = ("{0}", "{0}!", "({0})", "the {0}", "{0}, {0}", "only {0}", "no {0}")
HELD_OUT_LAYOUTS = {
    ("month name year", "{0} {1}"),
    ("day month name", "{0} {1}"),
    ("city age", "{0} ({1})"),
    ("name city", "{0} ({1})"),
    ("minutes hour", "{0} past {1}"),
    ("last name first name", "{0}, {1}"),
    ("color thing number", "{0} {1}: {2}"),
}


def _field_wording(layout: str, chosen: Sequence[str], example: str, rng: Random) -> str:
    """Words the instruction: as a form, in words, or by an example."""
    form = layout.format(*chosen)
    options = [form, f"Use the form {form}", f"Write {form}", f"Answer like {example}", f"Format: {form}"]
    if len(chosen) == 1:
        options.append(f"Give the {chosen[0]} in the form {form}")
    else:
        named = ", then the ".join(chosen)
        options += [f"Write the {named}, like {example}", f"Give the {named}, in the form {form}"]
        plain = next((n for s, n in _NAMED.items() if layout == "{0}" + s + "{1}"), None)
        if plain:
            options += [f"Write the {chosen[0]}, {plain} and the {chosen[1]}."] * 2
        if layout == "{0} ({1})":
            options += [f"Write the {chosen[0]} and then the {chosen[1]} in parentheses."] * 2
    return rng.choice(options)


def fields_composition(rng: Random) -> Composition:
    """Draws one to three fields and a layout."""
    while True:
        kind, draw = _draws(rng)
        _, fields = draw(rng)
        chosen = rng.sample(tuple(fields), min(len(fields), rng.choice((1, 2, 2, 2, 2, 3, 3))))
        shapes = (_ONE, _TWO, _THREE)[len(chosen) - 1]
        layout = (
            rng.choice(shapes).replace("{s}", rng.choice(_SEPARATORS)).replace("{t}", rng.choice(_SEPARATORS))
        )
        if (" ".join(chosen), layout.rstrip(".").removeprefix("The ")) not in HELD_OUT_LAYOUTS:
            break

    def answer(fields: Fields) -> str:
        return layout.format(*(fields[name] for name in chosen))

    def sample(rng: Random) -> Pair:
        query, fields = draw(rng)
        return query, answer(fields)

    return Composition(
        (kind, *chosen, layout), _field_wording(layout, chosen, answer(draw(rng)[1]), rng), sample
    )


# --- sentences: voice, polarity, mood, time, and what stands around them -------------------------------

_VOICES = {"active": "active", "passive": "passive", "short passive": "passive without the doer"}
_TIMES = {"past": "past", "future": "future with will", "must": "an order with must"}
_MOODS = {"statement": "statement", "question": "question"}
_POLARITIES = {"positive": "affirmative", "negative": "negative"}
_PREFIXES = ("", "", "", "yesterday ", "maybe ", "today ", "I think ", "Anna says ", "sadly, ", "then ")


def _render(c: sentences.Clause, voice: str, time: str, mood: str, polarity: str) -> str:
    """Writes the clause as one sentence, without its first capital and its mark."""
    auxiliary = {"past": "did" if voice == "active" else "was", "future": "will", "must": "must"}[time]
    head = c.who if voice == "active" else c.what
    negation = " not" if polarity == "negative" else ""
    if voice == "active":
        tail = f"{c.base} {c.what}"
    else:
        tail = (
            f"{'' if time == 'past' else 'be '}{c.participle}{f' by {c.who}' if voice == 'passive' else ''}"
        )
    if mood == "question":
        return f"{auxiliary} {head}{negation} {tail}"
    if voice == "active" and time == "past" and not negation:
        return f"{head} {c.past} {c.what}"
    return f"{head} {auxiliary}{negation} {tail}"


def sentence_composition(rng: Random) -> Composition:
    """Draws several properties of a sentence; never a negative passive."""
    while True:
        voice, time = rng.choice(tuple(_VOICES)), rng.choice(("past", "past", *_TIMES))
        mood, polarity = rng.choice(tuple(_MOODS)), rng.choice(tuple(_POLARITIES))
        prefix = rng.choice(_PREFIXES) if mood == "statement" else ""
        if not (voice != "active" and polarity == "negative"):
            break
    named = [
        _VOICES[voice], _TIMES[time], _MOODS[mood], _POLARITIES[polarity],
        *([f"begin with {prefix.strip()}"] if prefix else []),
    ]  # fmt: skip
    rng.shuffle(named)
    marks = "?" if mood == "question" else "."

    def sample(rng: Random) -> Pair:
        clause = sentences.full_clause(rng)
        text = prefix + _render(clause, voice, time, mood, polarity)
        return clause.active, text[0].upper() + text[1:] + marks

    lead = rng.choice(("Rewrite the sentence: ", "Make it ", "", "Change the sentence to "))
    return Composition((voice, time, mood, polarity, prefix), f"{lead}{', '.join(named)}", sample)


def sample_composition(rng: Random) -> Composition:
    """Draws a procedure over items, over fields, or over a sentence."""
    kinds = (items_composition, fields_composition, sentence_composition)
    return rng.choices(kinds, (0.46, 0.42, 0.12))[0](rng)
