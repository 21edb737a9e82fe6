"""Scores of answers to queries of one procedure each, predictions, and means over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tokmem.eval.rouge import score_texts
from tokmem.eval.routing import confusion, most_confused, score_routing
from tokmem.records import Answer, Example
from tokmem.tracks.atomic.schedule import Block
from tokmem.tracks.means import grouped_means, mean_rows

KEYS = ("method", "prompt", "train_size", "stage")
MEASURES = (
    "routing_accuracy",
    "routing_accuracy_over_all",
    "routing_accuracy_when_learned",
    "rouge_l",
    "rouge_l_forced",
    "rouge_l_when_learned",
    "exact_match",
    "exact_match_forced",
    "prompt_tokens_per_query",
    "train_seconds",
    "queries_per_second",
)
OF_ONE_SEED = (
    *("settings", "trainable_parameters", "steps", "new_examples", "replayed_examples"),
    *("per_procedure", "most_confused", "confusion"),
)


def score(examples: Sequence[Example], answers: Sequence[Answer], forced: Sequence[Answer]) -> dict[str, Any]:
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


def mean_scores(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, with standard deviations if there are several."""
    return mean_rows(rows, KEYS, MEASURES, OF_ONE_SEED)


def forgetting(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], blocks: Sequence[Block]
) -> list[dict[str, Any]]:
    """The scores of each stage's tasks after that stage and after each later one, means over seeds."""
    ends = [block.end for block in blocks if block.measured]
    if len(ends) == 1:
        return []
    parts = []
    for row in rows:
        for start, end in zip((0, *ends), ends, strict=False):
            scores = [row["per_procedure"].get(name) for name in names[start:end]]
            if end <= row["stage"] and all(scores):
                parts.append(
                    {
                        "method": row["method"],
                        "prompt": row["prompt"],
                        "train_size": row["train_size"],
                        "learned_at": end,
                        "evaluated_at": row["stage"],
                        "rouge_l": fmean(s["rouge_l"] for s in scores if s),
                        "routing_accuracy": fmean(s["routing_accuracy"] for s in scores if s)
                        if scores[0] and "routing_accuracy" in scores[0]
                        else None,
                    }
                )
    measures = ("rouge_l", "routing_accuracy")
    return grouped_means(parts, ("method", "prompt", "train_size", "learned_at", "evaluated_at"), measures)


def probes(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores under other instructions, means over seeds."""
    parts = [
        {key: row[key] for key in KEYS} | {"instruction": kind} | scores
        for row in rows
        for kind, scores in row.get("probes", {}).items()
    ]
    return grouped_means(parts, (*KEYS, "instruction"), ("rouge_l", "routing_accuracy"))
