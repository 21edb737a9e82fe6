"""Means over seeds of the atomic track's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tokmem.data.schedule import Block
from tokmem.report.tables import grouped_means, mean_rows

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
OF_EACH = ("rouge_l", "routing_accuracy")  # what is measured of a single task too
OF_ONE_SEED = (
    *("settings", "trainable_parameters", "steps", "new_examples", "replayed_examples"),
    *("per_procedure", "most_confused", "confusion", "reliability"),
)


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
            scores = [row["per_procedure"].get(name, {}) for name in names[start:end]]
            if end <= row["stage"] and all(scores):
                stages = {"learned_at": end, "evaluated_at": row["stage"]}
                parts.append({key: row[key] for key in KEYS[:-1]} | stages | mean_of_each(scores))
    return grouped_means(parts, (*KEYS[:-1], "learned_at", "evaluated_at"), OF_EACH)


def probes(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores under other instructions, means over seeds."""
    parts = [
        {key: row[key] for key in KEYS} | {"instruction": kind} | scores
        for row in rows
        for kind, scores in row.get("probes", {}).items()
    ]
    return grouped_means(parts, (*KEYS, "instruction"), OF_EACH)


def mean_of_each(scores: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Means of the scores of several tasks; None where there are no tasks, or one lacks the score."""
    return {
        name: fmean(one[name] for one in scores) if scores and all(name in one for one in scores) else None
        for name in OF_EACH
    }
