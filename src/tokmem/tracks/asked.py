"""Test queries for several tools, what was answered, and what that scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from typing import Any

from tokmem.eval.call_scores import call_rows, score_calls
from tokmem.methods.protocol import Method
from tokmem.methods.tool_prompt import ToolPrompt
from tokmem.records import Answer, Example, ParsedCall, Procedure
from tokmem.tracks.tool_text import expected_calls, read_answer


@dataclass(frozen=True)
class Asked:
    """Test queries with what was answered.

    Attributes:
        examples: the queries and their calls.
        answers: of free recall.
        calls: those of the answers, as they could be read.
        forced: the same with the right tools given; empty where that changes nothing.
        seconds: wall time of free recall.
        retrieves: whether a route says which tools were shown.
    """

    examples: Sequence[Example]
    answers: Sequence[Answer]
    calls: Sequence[tuple[ParsedCall, ...]]
    forced: Sequence[tuple[ParsedCall, ...]]
    seconds: float
    retrieves: bool

    def rows(self) -> list[dict[str, Any]]:
        """Scores by number of calls and over all, with what a query cost."""
        expected = [expected_calls(example) for example in self.examples]
        report = score_calls(expected, self.calls)
        forced = score_calls(expected, self.forced) if self.forced else None
        cost = {
            "prompt_tokens_per_query": fmean(answer.prompt_tokens for answer in self.answers),
            "queries_per_second": len(self.examples) / self.seconds,
        }
        return [row | cost | self._retrieval(row["calls"]) for row in call_rows(report, forced)]

    def _retrieval(self, calls: int | str) -> dict[str, float]:
        """How much of the tools that a query needs was retrieved, and of those retrieved is needed."""
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
        """An entry a query."""
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


def ask(method: Method, examples: Sequence[Example], tools: Mapping[str, Procedure]) -> Asked:
    """Asks a method test queries, freely and, where that is another thing, with the right tools given.

    Args:
        method: with what it has learned.
        examples: queries and their calls, at least one.
        tools: those that may be called, by name.
    """
    started = perf_counter()
    answers = method.answer(examples)
    seconds = perf_counter() - started
    forced = method.answer(examples, forced=True) if method.forces else []
    calls, given = ([read_answer(method, a, tools) for a in part] for part in (answers, forced))
    return Asked(examples, answers, calls, given, seconds, isinstance(method, ToolPrompt))
