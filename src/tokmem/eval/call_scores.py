"""Scores of predicted tool calls, in percent.

Calls are compared as syntax trees. The order of an object's keys does not count, the order of a list's items
does. 1 equals 1.0, and neither equals true. Strings must be equal except for white space around them and the
form of their Unicode (NFC). The Berkeley Function-Calling Leaderboard also ignores case and punctuation of
strings; we do not, because "2.5" would then equal "25".

Every F1 is over multisets (one of two equal calls is half of them) and is averaged over examples. Nothing
expected and nothing predicted scores 100; nothing on one side only scores 0.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tokmem.errors import DataError
from tokmem.records import Call, ParsedCall


@dataclass(frozen=True)
class Overlap:
    """How much of two multisets is the same, in percent."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class CallScores:
    """The scores of one example, in percent.

    Attributes:
        tools: overlap of the tools' names; a turn with unreadable arguments counts too.
        calls: overlap of names with arguments.
        arguments: overlap of the arguments alone, whatever tool they belong to.
        exact: whether the calls are the expected ones in any order, and nothing else was written.
        exact_ordered: the same in the expected order.
        turns: number of calls that were written.
        invalid_json: how many of these have no JSON object of arguments.
        invalid_schema: how many of these name an unknown tool, or have arguments that its schema refuses.
    """

    tools: Overlap
    calls: Overlap
    arguments: Overlap
    exact: float
    exact_ordered: float
    turns: int
    invalid_json: int
    invalid_schema: int


@dataclass(frozen=True)
class CallRates:
    """Means over a set of examples, in percent.

    Attributes:
        examples: number of examples.
        invalid_json: share of the written calls whose arguments are not a JSON object; 0 without any call.
        invalid_schema: share of the written calls with an unknown tool, or arguments that its schema refuses.
    """

    examples: int
    tool_f1: float
    tool_precision: float
    tool_recall: float
    call_f1: float
    call_exact: float
    call_exact_ordered: float
    arguments_f1: float
    invalid_json: float
    invalid_schema: float


@dataclass(frozen=True)
class CallReport:
    """Scores of predicted calls.

    Attributes:
        overall: rates over all examples.
        by_calls: rates over the examples with the same number of expected calls, by this number.
        per_example: the scores of each example, in order.
    """

    overall: CallRates
    by_calls: Mapping[int, CallRates]
    per_example: Sequence[CallScores]


def score_calls(
    expected: Sequence[Sequence[Call]], predicted: Sequence[Sequence[ParsedCall] | None]
) -> CallReport:
    """Scores predicted calls against the expected ones.

    Args:
        expected: the calls that each query asks for, in order.
        predicted: the calls that were written for each query, in order; empty for plain text.

    Raises:
        DataError: there is no example, the lengths differ, or a query has no prediction (None).
    """
    pairs = _pairs(expected, predicted)
    scores = [score_example(calls, parsed) for calls, parsed in pairs]
    groups: dict[int, list[CallScores]] = defaultdict(list)
    for (calls, _), score in zip(pairs, scores, strict=True):
        groups[len(calls)].append(score)
    return CallReport(_rates(scores), {count: _rates(groups[count]) for count in sorted(groups)}, scores)


def call_rows(report: CallReport, forced: CallReport | None = None) -> list[dict[str, Any]]:
    """Returns the rates as rows of a result: one for each number of calls, and one for `all`.

    Args:
        report: scores of free recall.
        forced: scores of recall with the ground-truth tools given; adds `call_f1_forced`.
    """
    given = dict(_groups(forced)) if forced else {}
    return [
        {"calls": calls, **vars(rates)} | ({"call_f1_forced": given[calls].call_f1} if given else {})
        for calls, rates in _groups(report)
    ]


def score_example(expected: Sequence[Call], predicted: Sequence[ParsedCall]) -> CallScores:
    """Scores the calls that were written for one query."""
    right = [normalise(call) for call in expected]
    written = [None if parsed.call is None else normalise(parsed.call) for parsed in predicted]
    return CallScores(
        tools=overlap([call.name for call in expected], [parsed.name or None for parsed in predicted]),
        calls=overlap(right, written),
        arguments=overlap(
            [_tree(call.arguments) for call in expected],
            [None if parsed.call is None else _tree(parsed.call.arguments) for parsed in predicted],
        ),
        exact=100.0 * (Counter(right) == Counter(written)),
        exact_ordered=100.0 * (right == written),
        turns=len(predicted),
        invalid_json=sum(parsed.call is None for parsed in predicted),
        invalid_schema=sum(parsed.call is not None and parsed.error is not None for parsed in predicted),
    )


def overlap(expected: Sequence[Hashable], predicted: Sequence[Hashable]) -> Overlap:
    """Returns precision, recall and F1 over multisets, in percent; a predicted None equals nothing."""
    if not expected and not predicted:
        return Overlap(100.0, 100.0, 100.0)
    same = sum((Counter(expected) & Counter(entry for entry in predicted if entry is not None)).values())
    precision = 100.0 * same / len(predicted) if predicted else 0.0
    recall = 100.0 * same / len(expected) if expected else 0.0
    return Overlap(precision, recall, 200.0 * same / (len(expected) + len(predicted)))


def normalise(call: Call) -> Hashable:
    """Turns a call into a tree that is equal for all calls with the same meaning.

    Raises:
        DataError: an argument is not a JSON value.
    """
    return (call.name, _tree(call.arguments))


def _tree(value: Any) -> Hashable:
    """Pairs a JSON value with its kind, so that true does not equal 1."""
    if isinstance(value, str):
        return ("string", _text(value))
    if value is None or isinstance(value, bool):
        return ("constant", value)
    if isinstance(value, (int, float)):
        return ("number", value)
    if isinstance(value, Mapping):
        return ("object", frozenset((_text(key), _tree(entry)) for key, entry in value.items()))
    if isinstance(value, (list, tuple)):
        return ("array", tuple(_tree(entry) for entry in value))
    raise DataError(f"the arguments of a call hold {value!r}, a {type(value).__name__}", "a JSON value")


def _text(value: str) -> str:
    return unicodedata.normalize("NFC", value).strip()


def _pairs(
    expected: Sequence[Sequence[Call]], predicted: Sequence[Sequence[ParsedCall] | None]
) -> list[tuple[Sequence[Call], Sequence[ParsedCall]]]:
    if len(expected) != len(predicted) or not expected:
        got = f"{len(predicted)} predictions for {len(expected)} examples"
        raise DataError(got, "one an example, and at least one")
    pairs = [(calls, parsed) for calls, parsed in zip(expected, predicted, strict=True) if parsed is not None]
    if len(pairs) < len(expected):
        first = next(i for i, parsed in enumerate(predicted) if parsed is None)
        got = f"{len(expected) - len(pairs)} examples without a prediction, the first at position {first}"
        raise DataError(
            got, "a prediction for every example", "recall these examples again; a failed one is never scored"
        )
    return pairs


def _groups(report: CallReport) -> list[tuple[int | str, CallRates]]:
    return [*report.by_calls.items(), ("all", report.overall)]


def _rates(scores: Sequence[CallScores]) -> CallRates:
    turns = max(1, sum(score.turns for score in scores))
    return CallRates(
        examples=len(scores),
        tool_f1=fmean(score.tools.f1 for score in scores),
        tool_precision=fmean(score.tools.precision for score in scores),
        tool_recall=fmean(score.tools.recall for score in scores),
        call_f1=fmean(score.calls.f1 for score in scores),
        call_exact=fmean(score.exact for score in scores),
        call_exact_ordered=fmean(score.exact_ordered for score in scores),
        arguments_f1=fmean(score.arguments.f1 for score in scores),
        invalid_json=100.0 * sum(score.invalid_json for score in scores) / turns,
        invalid_schema=100.0 * sum(score.invalid_schema for score in scores) / turns,
    )
