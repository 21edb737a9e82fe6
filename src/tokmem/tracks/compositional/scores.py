"""Test queries for several tools: the answers, their scores, and means over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from typing import Any

from tokmem.data.calls.parse import calls_of, written_calls
from tokmem.data.calls.text import write_calls_text
from tokmem.eval.call_scores import call_rows, score_calls
from tokmem.methods.protocol import Method
from tokmem.records import Answer, Call, Example, ParsedCall, Procedure, Turn
from tokmem.tracks.means import Rows, grouped_means, mean_rows

KEYS = ("method", "adaptation", "train_max_calls")
MEASURES = (
    *("tool_f1", "tool_precision", "tool_recall"),
    *("call_f1", "call_exact", "call_exact_ordered", "arguments_f1", "call_f1_forced"),
    *("invalid_json", "invalid_schema"),
    *("retrieval_recall", "retrieval_precision"),
    *("prompt_tokens_per_query", "train_seconds", "queries_per_second"),
)
OF_ONE_SEED = (
    *("settings", "examples", "trainable_parameters", "steps"),
    *("new_examples", "replayed_examples"),
    *("adaptation_seconds", "adaptation_lora_parameters"),
)


@dataclass(frozen=True)
class Answered:
    """Test queries with their answers.

    Attributes:
        examples: the queries and their calls.
        answers: of free recall.
        calls: of each answer, as far as they can be read.
        forced: the calls written with the right tools given; empty if that changes nothing.
        seconds: wall time of free recall.
        retrieves: whether a route names the tools that the prompt showed.
    """

    examples: Sequence[Example]
    answers: Sequence[Answer]
    calls: Sequence[tuple[ParsedCall, ...]]
    forced: Sequence[tuple[ParsedCall, ...]]
    seconds: float
    retrieves: bool

    def rows(self) -> list[dict[str, Any]]:
        """Scores by number of calls and over all, with the costs of a query."""
        expected = [expected_calls(example) for example in self.examples]
        report = score_calls(expected, self.calls)
        forced = score_calls(expected, self.forced) if self.forced else None
        cost = {
            "prompt_tokens_per_query": fmean(answer.prompt_tokens for answer in self.answers),
            "queries_per_second": len(self.examples) / self.seconds,
        }
        return [row | cost | self._retrieval(row["calls"]) for row in call_rows(report, forced)]

    def _retrieval(self, calls: int | str) -> dict[str, float]:
        """Share of needed tools that were retrieved, and of retrieved tools that are needed, in percent."""
        pairs = [
            ({t.procedure for t in e.turns}, {c.procedure for c in a.route.choices})
            for e, a in zip(self.examples, self.answers, strict=True)
            if self.retrieves and a.route and calls in ("all", len(e.turns))
        ]
        if not pairs:
            return {}
        return {
            "retrieval_recall": 100 * fmean(len(need & got) / len(need) for need, got in pairs),
            "retrieval_precision": 100 * fmean(len(need & got) / len(got) for need, got in pairs),
        }

    def predictions(self) -> list[dict[str, Any]]:
        """For each query, the expected calls and the written ones."""
        return [
            {
                "id": e.id,
                "query": e.query,
                "expected": [{"name": t.procedure, "arguments": t.response} for t in e.turns],
                "written": [
                    {"name": p.name, "text": p.text} | ({"error": p.error} if p.error else {}) for p in calls
                ],
                "finished": a.finished,
            }
            for e, a, calls in zip(self.examples, self.answers, self.calls, strict=True)
        ]


def ask(method: Method, examples: Sequence[Example], tools: Mapping[str, Procedure]) -> Answered:
    """Asks a method test queries, freely and, if that may change an answer, with the right tools given.

    Args:
        method: with what it has learned.
        examples: queries and their calls, at least one.
        tools: those that may be called, by name.
    """
    started = perf_counter()
    answers = method.answer(examples)
    seconds = perf_counter() - started
    forced = method.answer(examples, forced=True) if method.forces else []
    calls, given = ([read_calls(method, a, tools) for a in part] for part in (answers, forced))
    return Answered(examples, answers, calls, given, seconds, method.retrieves)


def expected_calls(example: Example) -> tuple[Call, ...]:
    """The calls that a query asks for, in order."""
    return tuple(Call(turn.procedure, json.loads(turn.response)) for turn in example.turns)


def calls_as_text(example: Example) -> Example:
    """The example with one turn: all calls as text, one `{"name": ..., "arguments": ...}` a line."""
    text = write_calls_text(expected_calls(example))
    return Example(example.query, (Turn(example.turns[0].procedure, text),), id=example.id)


def read_calls(method: Method, answer: Answer, tools: Mapping[str, Procedure]) -> tuple[ParsedCall, ...]:
    """The calls of an answer: its turns, or what a method without turns wrote as text."""
    return calls_of(answer, tools) if method.chains else written_calls(answer.response, tools)


def mean_scores(rows: Rows) -> list[dict[str, Any]]:
    """Means over seeds, with standard deviations if there are several."""
    return mean_rows(rows, (*KEYS, "round", "tools", "calls"), MEASURES, OF_ONE_SEED)


def forgetting(rows: Rows, tools: Sequence[str]) -> list[dict[str, Any]]:
    """The scores of each round's tools after that round and after each later one, means over seeds.

    Args:
        rows: of all variants and seeds.
        tools: the range of each round.
    """
    if len(tools) == 1:
        return []
    parts = [
        {**row, "learned": tools.index(row["tools"]) + 1, "after": row["round"]}
        for row in rows
        if row["calls"] == "all"
    ]
    return grouped_means(
        parts, (*KEYS, "learned", "after"), ("tool_f1", "call_f1", "call_exact", "arguments_f1")
    )


def mean_norms(rows: Rows) -> list[dict[str, Any]]:
    """Mean norms of each round's addresses and of earlier ones, means over seeds."""
    return grouped_means(rows, (*KEYS, "round"), ("mean_norm", "old_mean_norm"))
