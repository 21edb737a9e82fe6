"""Answers to queries for several tools: scores by number of calls, and what was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tokmem.errors import DataError
from tokmem.eval.call_scores import call_rows, score_calls
from tokmem.records import Answer, Call, Example, ParsedCall


@dataclass(frozen=True)
class ToolAnswers:
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


def expected_calls(example: Example) -> tuple[Call, ...]:
    """The calls that a query asks for, in order.

    Raises:
        DataError: a response is not JSON.
    """
    try:
        return tuple(Call(turn.procedure, json.loads(turn.response)) for turn in example.turns)
    except ValueError as error:
        raise DataError(
            f"responses {[turn.response for turn in example.turns]!r:.80} as calls ({error})",
            "arguments in JSON: of several turns the calls are scored",
        ) from error
