"""Makes documents to train the bundled backbone on: procedures, calls, arithmetic, copying, task text.

A document is a chat of one or more exchanges, and says which of its text is trained on; the training itself
only counts tokens. Held out by definition are every family whose split is not ``trained`` and tools 51 to
100; held out by input is every query that ``is_held_out_input`` names. Nothing takes the place of a memory
token: a response answers its instruction from the first word on.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pretraining.compositions import sample_composition
from pretraining.families import TRAINED
from pretraining.random_tools import rename_tool, sample_tool
from pretraining.tools import sample_chain, schema_line
from tokmem.data.calls.text import arguments_json
from tokmem.mini.arithmetic import sample_problem
from tokmem.mini.lexicon import ADJECTIVES, COLORS, NOUNS
from tokmem.mini.procedures import is_held_out_input
from tokmem.mini.tools import AUXILIARY, TRAINING, Call, Tool


@dataclass(frozen=True)
class Part:
    """One of several parts of a response that stand next to each other, and how the request words it."""

    text: str
    words: str


@dataclass(frozen=True)
class Exchange:
    """One user message and its response.

    ``train_user`` and ``train_response`` say what the loss covers. With ``look_ahead``, earlier states must
    also predict each token of the response two and three positions ahead. If ``parts`` make up the response,
    the state before each part must predict the words that ask for it.
    """

    user: str
    response: str
    train_user: bool = False
    train_response: bool = True
    look_ahead: bool = False
    parts: tuple[Part, ...] = ()


Document = tuple[Exchange, ...]
Source = Callable[[Random], Document]


# Opening, closing and requests of a frame: ordinary text around an ordinary answer, so that a response may
# begin with another word than its first.
FRAMES = (
    ('"', '"', ("Put the answer in quotes.", "Use quotation marks around the answer.")),
    ("[", "]", ("Put the answer in square brackets.", "Use square brackets around the answer.")),
    ("(", ")", ("Put the answer in parentheses.", "Use round brackets around the answer.")),
    ("=", "", ("Begin with an equals sign.", "Put an equals sign before the answer.")),
    ("->", "", ("Begin with an arrow.", "Put an arrow before the answer.")),
    (":", "", ("Begin with a colon.", "Put a colon before the answer.")),
    ("#", "", ("Begin with a hash sign.", "Put a hash sign before the answer.")),
    ("*", "*", ("Put the answer between stars.", "Use stars around the answer.")),
    ("\n", "", ("Begin with an empty line.", "Leave a line empty before the answer.")),
)
FRAMED = 0.45

# Families that are hard to learn (sums, neighbours, selections by meaning) are drawn three times as often.
HARD = {
    *(f"number_{name}" for name in ("add_2", "add_3", "add_5", "add_10", "subtract_1", "subtract_10")),
    *("numbers_sum_of_two", "numbers_first_plus_last", "numbers_add_one_each", "numbers_reverse"),
    *("number_digit_count", "numbers_largest_of_three", "numbers_smallest_of_three", "numbers_swap_ends"),
    *(f"list_{name}" for name in ("reverse", "after", "before", "rotate_left", "rotate_right", "drop_last")),
    *(f"list_{name}" for name in ("only_animals", "only_foods", "only_places", "only_colors", "count")),
    *(f"list_{name}" for name in ("odd_places", "last_two", "and_before_last", "quote_items", "ends")),
    *("month_previous", "month_next", "weekday_next", "weekday_previous", "time_to_24", "time_to_12"),
    *("time_subtract_hour", "date_next_day", "date_next_year", "commas_to_bullets", "assign_names"),
    *("words_reverse", "words_swap_ends", "words_opposites", "words_drop_last", "words_repeat_each", "copy"),
}


# Further factors: copying is the base of everything else, these others have few distinct inputs.
SHARES = {"copy": 4.0, "number_to_words": 0.7, "number_from_words": 0.7, "time_spoken_quarter": 0.5}
WEIGHTS = [SHARES.get(f.name, 1.0) * (3.0 if f.name in HARD else 1.0) for f in TRAINED]


def _frame(rng: Random) -> tuple[str, str, str]:
    """Draws the opening, closing and request of a frame; some open with a word on a line of its own."""
    if rng.random() < 0.4:
        word = rng.choice((*NOUNS, *ADJECTIVES, *COLORS))
        return f"{word}\n", "", f"First write {word} on a line of its own."
    opening, closing, requests = rng.choice(FRAMES)
    return opening, closing, rng.choice(requests)


def _laid_out(wording: str, pairs: list[tuple[str, str]], rng: Random, framed: float) -> Document:
    """Puts the wording before or after the first input; with several inputs, sometimes leaves it out."""
    place = rng.random()
    if rng.random() < framed:
        opening, closing, request = _frame(rng)
        wording = f"{wording} {request}"
        pairs = [(query, opening + response + closing) for query, response in pairs]
    (query, response), rest = pairs[0], tuple(Exchange(q, r) for q, r in pairs[1:])
    if rest and place < 0.2:
        return (Exchange(query, response, train_response=False), *rest)
    first = f"{query}\n\n{wording}" if place < 0.6 else f"{wording}\n\n{query}"
    return (Exchange(first, response), *rest)


def _draw_unseen(
    sample: Callable[[Random], tuple[str, str]], size: int, rng: Random
) -> list[tuple[str, str]]:
    """Draws pairs of a sampler whose inputs are not held out."""
    pairs: list[tuple[str, str]] = []
    while len(pairs) < size:
        pair = sample(rng)
        if not is_held_out_input(pair[0]):
            pairs.append(pair)
    return pairs


def procedure_document(rng: Random) -> Document:
    """Makes a document of a trained family: one input and up to three more."""
    family = rng.choices(TRAINED, WEIGHTS)[0]
    more = rng.choices((0, 1, 2, 3), (0.55, 0.2, 0.15, 0.1))[0]
    pairs = _draw_unseen(family.sample, more + 1, rng)
    return _laid_out(rng.choice(family.wordings), pairs, rng, FRAMED)


def composition_document(rng: Random) -> Document:
    """Makes a document of a random composition: one input and up to four more."""
    composition = sample_composition(rng)
    size = rng.choices((1, 2, 3, 5), (0.4, 0.25, 0.2, 0.15))[0]
    return _laid_out(composition.wording, _draw_unseen(composition.sample, size, rng), rng, FRAMED / 2)


def _call_json(name: str, arguments: Mapping[str, object]) -> str:
    return f'{{"name": "{name}", "arguments": {arguments_json(arguments)}}}'


def _draw_tools(rng: Random, n: int) -> Sequence[Tool]:
    """Draws tools of one kind: auxiliary ones, known ones under other names, or random ones."""
    draws: tuple[Callable[[], Tool], ...] = (
        lambda: rng.choice(AUXILIARY),
        lambda: rename_tool(rng.choice(AUXILIARY + TRAINING), rng),
        lambda: sample_tool(rng),
    )
    draw = rng.choices(draws, (0.3, 0.4, 0.3))[0]
    tools: dict[str, Tool] = {}
    while len(tools) < n:
        tool = draw()
        tools[tool.name] = tool
    return tuple(tools.values())


def _calls_text(calls: Sequence[Call]) -> str:
    return "\n".join(_call_json(call.name, call.arguments) for call in calls)


def listing_document(rng: Random) -> Document:
    """Makes a request after a list of tools; the answer is the calls, their names, or their arguments."""
    tools = _draw_tools(rng, 7)
    query, calls = _chain(tools[:4], rng)
    lines = [schema_line(tool) for tool in tools[: rng.randint(4, 7)]]
    rng.shuffle(lines)
    user = "Tools:\n" + "\n".join(lines) + f"\n\n{query}"
    what = rng.choices(("calls", "names", "arguments"), (0.25, 0.15, 0.6))[0]
    if what == "names":
        return (_names_asked(user, calls, rng),)
    if what == "arguments":
        asked = rng.choice(("Write the arguments only.", "Only the arguments, please."))
        return (_arguments_asked(f"{user}\n\n{asked}", calls),)
    answered = Exchange(user, _calls_text(calls))
    if rng.random() < 0.7:
        return (answered,)
    query, calls = sample_chain(AUXILIARY, rng, rng.randint(1, 2))
    return (Exchange(query, _calls_text(calls), train_response=False), answered)


def request_document(rng: Random) -> Document:
    """Makes a request alone and each call's arguments; the model reads the arguments and does not learn them.

    Without a list of tools nobody can know what the arguments are called: a model that learns their names by
    heart here writes them for every tool.
    """
    known = rng.random() < 0.4
    share = 1.0 if known else rng.choice((0.0, 0.5))
    by_heart = rng.sample(AUXILIARY + TRAINING, 4)
    tools = [tool if rng.random() < share else sample_tool(rng) for tool in by_heart]
    query, calls = _chain(tools, rng)
    if known and rng.random() < 0.2:
        return (_names_asked(query, calls, rng),)
    return (_arguments_asked(query, calls, learned=False),)


def _chain(tools: Sequence[Tool], rng: Random) -> tuple[str, list[Call]]:
    return sample_chain(tools, rng, rng.choices((1, 2, 3, 4), (0.15, 0.35, 0.3, 0.2))[0])


def _arguments_asked(user: str, calls: Sequence[Call], *, learned: bool = True) -> Exchange:
    """Joins the arguments of each call; the state before each must predict the words that ask for it."""
    parts = tuple(Part(arguments_json(call.arguments), _wording(call)) for call in calls)
    response = "".join(part.text for part in parts)
    return Exchange(user, response, train_response=learned, look_ahead=learned, parts=parts)


def _wording(call: Call) -> str:
    """Returns what a request says beside the values of its arguments."""
    words = call.query
    for value in sorted(map(str, call.arguments.values()), key=len, reverse=True):
        words = words.replace(value, " ", 1)
    return " ".join(words.replace("'", " ").split())


def _names_asked(user: str, calls: Sequence[Call], rng: Random) -> Exchange:
    asked = rng.choice(("Name the tools in order.", "Which tools, in order?"))
    return Exchange(f"{user}\n\n{asked}", " ".join(call.name for call in calls), look_ahead=True)


def parts_document(rng: Random) -> Document:
    """Makes a request for several tools, to be taken apart."""
    query, calls = sample_chain(_draw_tools(rng, 4), rng, rng.randint(2, 4))
    asked = rng.choice(("Split the request into its parts.", "Write each part on its own line."))
    return (Exchange(f"{query}\n\n{asked}", "\n".join(call.query for call in calls), look_ahead=True),)


def arguments_document(rng: Random) -> Document:
    """Makes a request and the arguments of each call, tool by tool; some tools are given by name alone."""
    tools = _draw_tools(rng, 4)
    query, calls = sample_chain(tools, rng, rng.choices((1, 2, 3, 4), (0.45, 0.3, 0.15, 0.1))[0])
    by_name = {tool.name: tool for tool in tools}
    known = [tool in AUXILIARY and rng.random() < 0.3 for tool in (by_name[call.name] for call in calls)]
    schemas = [c.name if k else schema_line(by_name[c.name]) for c, k in zip(calls, known, strict=True)]
    first = f"{query}\n\n{schemas[0]}" if rng.random() < 0.7 else f"{schemas[0]}\n\n{query}"
    users = [first, *schemas[1:]]
    return tuple(
        Exchange(user, arguments_json(call.arguments)) for user, call in zip(users, calls, strict=True)
    )


def arithmetic_document(rng: Random) -> Document:
    """Makes a word problem and its worked answer, sometimes two."""
    problems = [sample_problem(rng) for _ in range(rng.choice((1, 1, 2)))]
    ask = rng.choice(("", "Solve the problem.\n\n", "Work out the answer. End with #### and the number.\n\n"))
    return tuple(Exchange((ask if i == 0 else "") + p.question, p.answer) for i, p in enumerate(problems))


def sums_document(rng: Random) -> Document:
    """Makes up to six sums of the kinds that word problems need, worked out one after another."""
    asked, worked = [], []
    for _ in range(rng.randint(2, 6)):
        a, b = rng.randint(2, 99), rng.randint(2, 60)
        factor = rng.randint(2, 9)
        sum_, value = rng.choice(
            (
                (f"{a}+{b}", a + b),
                (f"{a + b}-{b}", a),
                (f"{factor}*{b}", factor * b),
                (f"{factor * b}/{factor}", b),
            )
        )
        asked.append(sum_)
        worked.append(f"{sum_}={value}")
    return (Exchange(f"Work out {', '.join(asked)}.", "\n".join(worked)),)


class TaskText:
    """Reads instruction, input and output of Natural Instructions tasks from ``pretrain_text.jsonl.gz``."""

    def __init__(self, path: Path, max_chars: int = 900) -> None:
        self.by_task: dict[str, list[dict[str, str]]] = {}
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if len(row["definition"]) + len(row["input"]) + len(row["output"]) <= max_chars:
                    self.by_task.setdefault(row["task"], []).append(row)
        self.tasks = sorted(self.by_task)
        self.weights = [len(self.by_task[task]) ** 0.5 for task in self.tasks]

    def __call__(self, rng: Random) -> Document:
        """Draws one instance, mostly with its instruction first; sometimes a second instance follows."""
        rows = self.by_task[rng.choices(self.tasks, self.weights)[0]]
        row = rng.choice(rows)
        definition, text = row["definition"].strip(), row["input"].strip()
        user = f"{text}\n\n{definition}" if rng.random() < 0.25 else f"{definition}\n\n{text}"
        first = Exchange(user, row["output"].strip(), train_user=rng.random() < 0.15)
        if rng.random() < 0.25:
            other = rng.choice(rows)
            return (first, Exchange(other["input"].strip(), other["output"].strip()))
        return (first,)


def documents(sources: Sequence[tuple[Source, float]], rng: Random) -> Iterator[Document]:
    """Yields documents without end, each from a source drawn by its share."""
    kinds, shares = zip(*sources, strict=True)
    while True:
        yield rng.choices(kinds, shares)[0](rng)


# The sources that need no data file, with their shares of documents.
GENERATED: list[tuple[Source, float]] = [
    (procedure_document, 0.34),
    (composition_document, 0.32),
    (listing_document, 0.06),
    (request_document, 0.10),
    (arguments_document, 0.02),
    (parts_document, 0.01),
    (arithmetic_document, 0.03),
    (sums_document, 0.02),
]
