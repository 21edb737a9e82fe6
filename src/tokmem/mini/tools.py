"""Made-up tools and the requests that call them.

The folder `tables` describes the tools: `name(arguments) description`, then indented phrasings separated by `
| `. An argument is `name`, `name?` (optional) or `name=kind`. Kinds are the keys of `KINDS`, `int:low-high`,
`num:low-high` (one decimal), `enum:a/b` (`value=words` if the query uses other words) and `bool:words if
true/words if false`. A part in square brackets is said only if the optional argument in it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from random import Random
from typing import Any

from tokmem.mini import lexicon

Value = str | int | float | bool
Sampler = Callable[[Random], Value]


@dataclass(frozen=True)
class Tool:
    """A tool, the phrasings of requests for it, and the samplers of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any] = field(compare=False)  # JSON schema of an object
    phrasings: tuple[str, ...]  # "... {argument}[ ... {optional argument}]"
    samplers: Mapping[str, Sampler] = field(compare=False)
    spoken: Mapping[str, Mapping[Value, str]] = field(compare=False, default_factory=dict)
    """Arguments whose values a query says in other words: argument -> value -> words."""


@dataclass(frozen=True)
class Call:
    """A request in the imperative (lower case, no final punctuation), and the call that answers it."""

    query: str
    name: str
    arguments: dict[str, Value]


LANGUAGES = tuple("French Italian German Spanish Greek Polish Turkish Arabic Hindi Korean Dutch".split())
TEXTS = (
    "I am late", "{name} is here", "bring the {thing}", "we need {food}", "the {thing} is {adjective}",
    "call {name} on {day}", "see you at {time}", "the {animal} is {adjective}", "meet me at the {place}",
    "buy {food} for {name}", "thank you for the {thing}", "the {color} {thing} is lost", "I like {food}",
)  # fmt: skip
TITLES = (
    "the {adjective} {animal}", "the {color} {thing}", "one {adjective} day", "{name} and the {animal}",
    "{city} by night", "the {thing} of {name}", "my {adjective} {thing}", "{food} and {thing}",
    "the last {thing}",
)  # fmt: skip


def _one_of(words: Sequence[Value]) -> Sampler:
    """Makes a sampler that draws one of some values."""
    return lambda rng: rng.choice(words)


def _filled(templates: Sequence[str]) -> Sampler:
    """Makes a sampler that draws a template and fills each {kind} in it."""
    return lambda rng: re.sub(r"\{(\w+)\}", lambda m: str(KINDS[m[1]][1](rng)), rng.choice(templates))


# kind of string argument -> what its schema says, how it is drawn
KINDS: dict[str, tuple[str, Sampler]] = {
    "adjective": ("An adjective.", _one_of(lexicon.ADJECTIVES)),
    "animal": ("An animal.", _one_of(lexicon.ANIMALS)),
    "city": ("A city.", _one_of([city for city, _ in lexicon.CITIES])),
    "color": ("A color.", _one_of(lexicon.COLORS)),
    "country": ("A country.", _one_of([country for _, country in lexicon.CITIES])),
    "date": ("A day and a month.", lambda rng: f"{rng.choice(lexicon.MONTHS)} {rng.randint(1, 28)}"),
    "day": ("A day of the week.", _one_of(lexicon.WEEKDAYS)),
    "food": ("A food.", _one_of(lexicon.FOODS)),
    "job": ("A job.", _one_of(lexicon.JOBS)),
    "language": ("A language.", _one_of(LANGUAGES)),
    "month": ("A month.", _one_of(lexicon.MONTHS)),
    "name": ("A first name.", _one_of(lexicon.NAMES)),
    "person": ("A full name.", lambda rng: f"{rng.choice(lexicon.NAMES)} {rng.choice(lexicon.SURNAMES)}"),
    "phone": ("A phone number.", lambda rng: f"555-{rng.randint(1000, 9999)}"),
    "place": ("A place.", _one_of(lexicon.PLACES)),
    "street": ("An address.", lambda rng: f"{rng.randint(2, 99)} {rng.choice(lexicon.SURNAMES)} Street"),
    "surname": ("A family name.", _one_of(lexicon.SURNAMES)),
    "text": ("A short text.", _filled(TEXTS)),
    "thing": ("A thing.", _one_of(lexicon.THINGS)),
    "things": ("A topic.", _one_of([plural for _, plural in lexicon.PLURALS])),
    "time": ("A time of day.", lambda rng: f"{rng.randint(1, 12)}:{rng.choice(('00', '15', '30', '45'))}"),
    "title": ("A title.", _filled(TITLES)),
    "word": ("A word.", _one_of(lexicon.NOUNS)),
}  # fmt: skip


def _integer(low: int, high: int) -> Sampler:
    """Makes a sampler of integers in low..high."""
    return lambda rng: rng.randint(low, high)


def _decimal(low: int, high: int) -> Sampler:
    """Makes a sampler of numbers above `low`, below `high`, with one decimal that is not 0."""
    return lambda rng: (10 * rng.randint(low, high - 1) + rng.randint(1, 9)) / 10


def _choice(kind: str, options: str) -> tuple[dict[str, Any], Sampler, dict[Value, str]]:
    """Returns schema, sampler and spoken words of a boolean or an enum kind."""
    if kind == "bool":
        yes, no = options.split("/")
        schema: dict[str, Any] = {"type": "boolean", "description": f"True for '{yes}'."}
        return schema, _one_of((True, False)), {True: yes, False: no}
    pairs = [option.partition("=") for option in options.split("/")]
    values = [value for value, _, _ in pairs]
    schema = {"type": "string", "description": "One of a few values.", "enum": values}
    return schema, _one_of(values), {value: words for value, _, words in pairs if words}


def _parse_argument(kind: str) -> tuple[dict[str, Any], Sampler, dict[Value, str]]:
    """Returns schema, sampler and spoken words of a kind of argument; no words if values are verbatim."""
    head, _, tail = kind.partition(":")
    if head in ("bool", "enum"):
        return _choice(head, tail)
    if head in ("int", "num"):
        low, high = map(int, tail.split("-"))
        if head == "int":
            return {"type": "integer", "description": "A whole number."}, _integer(low, high), {}
        return {"type": "number", "description": "A number."}, _decimal(low, high), {}
    description, sampler = KINDS[head]
    return {"type": "string", "description": description}, sampler, {}


def parse_tool(header: str, phrasings: Sequence[str]) -> Tool:
    """Parses one tool of the table from its header line and its phrasings."""
    name, _, rest = header.partition("(")
    arguments, _, description = rest.partition(") ")
    properties, required, samplers, spoken = {}, [], {}, {}
    for entry in filter(None, arguments.split(", ")):
        label, _, kind = entry.partition("=")
        argument = label.rstrip("?")
        properties[argument], samplers[argument], words = _parse_argument(kind or argument)
        if words:
            spoken[argument] = words
        if argument == label:
            required.append(argument)
    parameters = {"type": "object", "properties": properties, "required": required}
    return Tool(name, description, parameters, tuple(phrasings), samplers, spoken)


def _read_table(name: str) -> tuple[Tool, ...]:
    """Reads all tools of a table, in order."""
    table = (files("tokmem.mini") / "tables" / f"{name}.txt").read_text("utf-8")
    blocks = re.split(r"\n(?=\w)", table.strip())
    tools = []
    for block in blocks:
        header, *lines = block.splitlines()
        tools.append(parse_tool(header, [text.strip() for line in lines for text in line.split(" | ")]))
    return tuple(tools)


AUXILIARY = _read_table("auxiliary")  # the training of the bundled backbone uses them
HELD_OUT = _read_table("held_out")  # for evaluation only
TOOLS: tuple[Tool, ...] = AUXILIARY + HELD_OUT
TRAINING = _read_table("training")  # to train or adapt on

_AN = re.compile(r"\ba (?=[aeioAEIO8]|1[18](?!\d))")  # where English says "an"; never in an argument


def _draw_arguments(tool: Tool, rng: Random) -> dict[str, Value]:
    """Draws a value for every argument, in schema order; free strings in one call differ."""
    values: dict[str, Value] = {}
    for argument, sampler in tool.samplers.items():
        value = sampler(rng)
        while isinstance(value, str) and value in values.values():
            value = sampler(rng)
        values[argument] = value
    return values


def sample_call(tool: Tool, rng: Random) -> Call:
    """Draws a request for the tool; each optional argument is given half of the time."""
    values = _draw_arguments(tool, rng)
    template = re.sub(r"\[(.*?)\]", lambda m: m[1] if rng.random() < 0.5 else "", rng.choice(tool.phrasings))
    said = {key: tool.spoken.get(key, {}).get(value, str(value)) for key, value in values.items()}
    arguments = {key: value for key, value in values.items() if f"{{{key}}}" in template}
    return Call(_AN.sub("an ", template.format_map(said)), tool.name, arguments)
