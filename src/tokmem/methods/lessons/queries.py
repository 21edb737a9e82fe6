"""The queries of a lesson: given ones, or ones that the frozen model makes out of the lesson itself.

For a text, the model goes on with a user's turn that begins with the text, as in Magpie (arXiv 2406.08464).
For a tool, arguments are drawn from its schema, and the model writes a request for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokmem.bank.bank import Bank
from tokmem.data.calls.schema import signature
from tokmem.data.calls.text import arguments_json
from tokmem.data.chat import Chat
from tokmem.data.lessons.arguments import draw_arguments
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import DataError
from tokmem.log import logger
from tokmem.methods.lessons.settings import FEWEST, LessonSettings
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.generate import Recaller
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Turn
from tokmem.seeds import stream

_ROUNDS = 4
_REQUEST = "Write what a user says who wants this call: {call}"
_SHOWN = (
    ('weather(city: string): Tells the weather. {"city": "Oslo"}', "What will the weather be like in Oslo?"),
    (
        'add_item(item: string, count: integer): Orders goods. {"item": "rice", "count": 3}',
        "Order 3 bags of rice.",
    ),
)


def given_queries(examples: Sequence[Example], lesson: Lesson) -> list[Example]:
    """Takes given queries, each once.

    Raises:
        DataError: they are too few.
    """
    return _checked({example.query.strip(): example for example in examples}.values(), len(examples), lesson)


def variety(examples: Sequence[Example]) -> float:
    """The share of different pairs of neighbouring words among all pairs in the queries, from 0 to 1."""
    pairs = [pair for example in examples for pair in pairwise(example.query.lower().split())]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def make_queries(lesson: Lesson, backbone: Backbone, chat: Chat, settings: LessonSettings) -> list[Example]:
    """Makes different queries with the frozen model. Those of a tool have the call that they ask for.

    Args:
        lesson: what the queries are for.
        backbone: the frozen model.
        chat: its chat format.
        settings: how many queries to make, and how; equal seeds make equal queries.

    Raises:
        DataError: fewer than `FEWEST` can be used, or a tool's schema cannot be drawn from.
    """
    found: dict[str, Example] = {}
    tried = 0
    for number in range(_ROUNDS):
        missing = settings.queries - len(found)
        if missing <= 0:
            break
        make = _requests if lesson.is_tool else _continuations
        for example in make(lesson, backbone, chat, settings, missing, number):
            if _usable(example.query, lesson):
                found.setdefault(example.query, example)
        tried += missing
    return _checked(found.values(), tried, lesson)


def _continuations(
    lesson: Lesson, backbone: Backbone, chat: Chat, settings: LessonSettings, count: int, number: int
) -> list[Example]:
    """Users' texts after the lesson's own, and after its demonstrations."""
    text = chat.text_ids(f"{lesson.text}\n\n")
    shown = [
        (chat.text_ids(f"{lesson.text}\n\n{one.query}"), chat.text_ids(one.response))
        for one in lesson.demonstrations
    ]
    prompts = [chat.open_ids(text, shown)] * count
    return [Example(query) for query in _written(prompts, backbone, chat, settings, number)]


def _requests(
    lesson: Lesson, backbone: Backbone, chat: Chat, settings: LessonSettings, count: int, number: int
) -> list[Example]:
    """Requests for calls of a tool; where the model leaves a value out, a plain sentence names them all."""
    rng, tool = stream(settings.seed, "arguments", lesson.name, number), lesson.procedure
    calls = [draw_arguments(tool, rng) for _ in range(count)]
    shown = [(chat.text_ids(_REQUEST.format(call=call)), chat.text_ids(said)) for call, said in _SHOWN]
    texts = [_REQUEST.format(call=f"{signature(tool)} {arguments_json(call)}") for call in calls]
    prompts = [chat.prompt_ids(chat.text_ids(text), shown) for text in texts]
    said = _written(prompts, backbone, chat, settings, number)
    named = [f"{tool.description or tool.name} {_values(call)}".strip() for call in calls]
    return [
        _asking(text if _names_all(text, call) else plain, tool.name, arguments_json(call))
        for text, plain, call in zip(said, named, calls, strict=True)
    ]


def _asking(query: str, tool: str, call: str) -> Example:
    return Example(query, (Turn(tool, call),), references=(call,))


def _written(
    prompts: Sequence[list[int]], backbone: Backbone, chat: Chat, settings: LessonSettings, number: int
) -> list[str]:
    """The first paragraph that the model writes after each prompt."""
    lm = MemoryLM(backbone.model, Bank(backbone.dim, backbone.id_space()))
    sampling = RecallSettings(
        temperature=settings.query_temperature,
        top_p=0.9,
        max_new_tokens=settings.max_query_tokens,
        seed=settings.seed + 1000 * number,
    )
    done = Recaller(lm, [*chat.tail], sampling)(prompts, desc="making queries")
    return [chat.decode(one.text).strip().split("\n\n")[0].strip() for one in done]


def _usable(query: str, lesson: Lesson) -> bool:
    """Whether a text may be a query: it has a letter or digit, and is no part of the lesson."""
    return any(c.isalnum() for c in query) and query not in lesson.text


def _values(call: dict[str, object]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in call.items())


def _names_all(text: str, call: dict[str, object]) -> bool:
    return all(_text(value).lower() in text.lower() for value in call.values())


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _checked(examples: Iterable[Example], tried: int, lesson: Lesson) -> list[Example]:
    kept = list(examples)
    if len(kept) < FEWEST:
        raise DataError(
            f"{len(kept)} different queries for {lesson.name!r}, of {tried}",
            f"at least {FEWEST}",
            f"give queries of your own (--queries), or leave it out (--skip {lesson.name})",
        )
    logger.info("%s: %d queries of %d; variety %.2f", lesson.name, len(kept), tried, variety(kept))
    return kept
