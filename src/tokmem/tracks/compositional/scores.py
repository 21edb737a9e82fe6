"""Test queries for several tools: the answers, their scores, and means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokmem.data.calls.parse import calls_of, written_calls
from tokmem.data.calls.text import write_calls_text
from tokmem.eval.tool_answers import ToolAnswers, expected_calls
from tokmem.methods.protocol import Method
from tokmem.methods.shared import answer_both
from tokmem.records import Answer, Example, ParsedCall, Procedure, Turn
from tokmem.report.tables import Row, grouped_means, mean_rows

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


def ask(method: Method, examples: Sequence[Example], tools: Mapping[str, Procedure]) -> ToolAnswers:
    """Asks a method test queries, freely and, if that may change an answer, with the right tools given.

    Args:
        method: with what it has learned.
        examples: queries and their calls, at least one.
        tools: those that may be called, by name.
    """
    answers, forced, seconds = answer_both(method, examples)
    calls, given = ([read_calls(method, a, tools) for a in part] for part in (answers, forced))
    return ToolAnswers(examples, answers, calls, given, seconds, method.retrieves)


def calls_as_text(example: Example) -> Example:
    """The example with one turn: all calls as text, one `{"name": ..., "arguments": ...}` a line."""
    text = write_calls_text(expected_calls(example))
    return Example(example.query, (Turn(example.turns[0].procedure, text),), id=example.id)


def read_calls(method: Method, answer: Answer, tools: Mapping[str, Procedure]) -> tuple[ParsedCall, ...]:
    """The calls of an answer: its turns, or what a method without turns wrote as text."""
    return calls_of(answer, tools) if method.chains else written_calls(answer.response, tools)


def mean_scores(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over seeds, with standard deviations if there are several."""
    return mean_rows(rows, (*KEYS, "round", "tools", "calls"), MEASURES, OF_ONE_SEED)


def forgetting(rows: Sequence[Row], tools: Sequence[str]) -> list[dict[str, Any]]:
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


def mean_norms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean norms of each round's addresses and of earlier ones, means over seeds."""
    return grouped_means(rows, (*KEYS, "round"), ("mean_norm", "old_mean_norm"))
