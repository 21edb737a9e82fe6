"""Recall in several processes: each answers a share of the queries, and all get all answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

from tokmem.methods.protocol import Method
from tokmem.records import Answer, Choice, Example, Route, Turn
from tokmem.train.parallel import join_processes


def answer_shared(method: Method, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
    """As `method.answer`, in the order of the examples. Call it in every process.

    Args:
        method: the same in every process.
        examples: likewise; a process answers every `count`-th, starting at its index.
        forced: whether to give the right procedures.
    """
    processes = join_processes()
    if processes.count == 1:
        return method.answer(examples, forced=forced)
    own = examples[processes.index :: processes.count]
    answers = method.answer(own, forced=forced) if own else []
    parts = [json.loads(text) for text in processes.gather(json.dumps([asdict(a) for a in answers]))]
    return [_answer(parts[i % processes.count][i // processes.count]) for i in range(len(examples))]


def answer_both(method: Method, examples: Sequence[Example]) -> tuple[list[Answer], list[Answer], float]:
    """Answers freely and, if that may change an answer, with the right procedures given.

    A free answer that is settled stands for both.

    Returns:
        the free answers, the forced ones (empty if they cannot differ), and the seconds of the free ones.
    """
    started = perf_counter()
    answers = answer_shared(method, examples)
    seconds = perf_counter() - started
    if not method.forces:
        return answers, [], seconds
    pairs = zip(examples, answers, strict=True)
    missed = [i for i, (example, answer) in enumerate(pairs) if not method.settled(example, answer)]
    given = answer_shared(method, [examples[i] for i in missed], forced=True)
    forced = dict(enumerate(answers)) | dict(zip(missed, given, strict=True))
    return answers, list(forced.values()), seconds


def _answer(facts: Mapping[str, Any]) -> Answer:
    turns = tuple(Turn(**turn) for turn in facts["turns"])
    routes = tuple(map(_route, facts["routes"]))
    route = None if facts["route"] is None else _route(facts["route"])
    return Answer(**{**facts, "turns": turns, "routes": routes, "route": route})


def _route(facts: Mapping[str, Any]) -> Route:
    return Route(**{**facts, "choices": tuple(Choice(**choice) for choice in facts["choices"])})
