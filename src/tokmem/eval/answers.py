"""Answers to queries for one procedure each: scores, and what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tokmem.eval.rouge import score_texts
from tokmem.eval.routing import confusion, most_confused, reliability, score_routing
from tokmem.records import Answer, Example


@dataclass(frozen=True)
class ProcedureAnswers:
    """Test examples with their answers, routed and forced, and the seconds a query took."""

    examples: Sequence[Example]
    answers: Sequence[Answer]
    forced: Sequence[Answer]
    seconds: float

    def of(self, tasks: Sequence[str]) -> ProcedureAnswers:
        """The part that belongs to some tasks."""
        wanted = set(tasks)
        places = [i for i, e in enumerate(self.examples) if e.turns[0].procedure in wanted]
        return ProcedureAnswers(
            [self.examples[i] for i in places],
            [self.answers[i] for i in places],
            [self.forced[i] for i in places],
            self.seconds,
        )

    def scores(self) -> dict[str, Any]:
        """Scores, and what a query cost."""
        if not self.examples:
            return {"per_procedure": {}, "most_confused": [], "confusion": [], "reliability": []}
        return {
            **score_answers(self.examples, self.answers, self.forced),
            "prompt_tokens_per_query": fmean(a.prompt_tokens for a in self.answers),
            "queries_per_second": 1 / self.seconds,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """An entry a query."""
        return predictions(self.examples, self.answers, self.forced)


def score_answers(
    examples: Sequence[Example], answers: Sequence[Answer], forced: Sequence[Answer]
) -> dict[str, Any]:
    """Scores of routing (None if an answer has no route) and of texts, free and forced, in percent."""
    expected = [e.turns[0].procedure for e in examples]
    references = [e.accepted for e in examples]
    texts = score_texts(expected, references, [a.response for a in answers])
    right = score_texts(expected, references, [a.response for a in forced])
    routes = [a.route for a in answers]
    routing = score_routing(expected, routes) if all(route is not None for route in routes) else None
    counts = confusion(expected, routes) if routing else Counter[tuple[str, str]]()
    return {
        "routing_accuracy": routing.overall.accuracy if routing else None,
        "routing_accuracy_over_all": routing.overall.accuracy_over_all if routing else None,
        "rouge_l": texts.macro.rouge_l,
        "rouge_l_forced": right.macro.rouge_l,
        "exact_match": texts.macro.exact_match,
        "exact_match_forced": right.macro.exact_match,
        "per_procedure": {
            name: {"rouge_l": rates.rouge_l, "exact_match": rates.exact_match}
            | ({"routing_accuracy": routing.per_procedure[name].accuracy} if routing else {})
            for name, rates in texts.per_procedure.items()
        },
        "most_confused": [list(c) for c in most_confused(counts)],
        "confusion": sorted([*pair, queries] for pair, queries in counts.items()),
        "reliability": [list(one) for one in reliability(expected, routes)] if routing else [],
    }


def predictions(
    examples: Sequence[Example], answers: Sequence[Answer], forced: Sequence[Answer]
) -> list[dict[str, Any]]:
    """For each query, what was expected and what was written."""
    return [
        {
            "id": e.id,
            "query": e.query,
            "references": list(e.accepted),
            "procedure": e.turns[0].procedure,
            "recalled": a.route.procedure if a.route else None,
            "probability": a.route.choices[0].probability if a.route else None,
            "response": a.response,
            "response_forced": f.response,
        }
        for e, a, f in zip(examples, answers, forced, strict=True)
    ]
