"""What cells found, as the rows of a summary: means over seeds, with their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tokmem.report.tables import aggregate
from tokmem.tracks.schedule import Block

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
# The same for all seeds, or too long to average: the first seed's are shown.
OF_ONE_SEED = (
    *("settings", "trainable_parameters", "steps", "new_examples", "replayed_examples"),
    *("per_procedure", "most_confused", "confusion"),
)


def mean_rows(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, standard deviations beside them where there are several."""
    keys = ("method", "prompt", "train_size", "stage")
    rows = grouped_means(cells, keys, MEASURES)
    for row in rows:
        members = [cell for cell in cells if all(cell[key] == row[key] for key in keys)]
        row |= {name: members[0][name] for name in OF_ONE_SEED}
        row["seeds"] = len(members)
    return rows


def forgetting(
    cells: Sequence[Mapping[str, Any]], names: Sequence[str], blocks: Sequence[Block]
) -> list[dict[str, Any]]:
    """The scores of each stage's tasks after that stage and after each later one, means over seeds."""
    ends = [block.end for block in blocks if block.measured]
    if len(ends) == 1:
        return []
    parts = []
    for cell in cells:
        for start, end in zip((0, *ends), ends, strict=False):
            scores = [cell["per_procedure"].get(name) for name in names[start:end]]
            if end <= cell["stage"] and all(scores):
                parts.append(
                    {
                        "method": cell["method"],
                        "prompt": cell["prompt"],
                        "train_size": cell["train_size"],
                        "learned_at": end,
                        "evaluated_at": cell["stage"],
                        "rouge_l": fmean(s["rouge_l"] for s in scores if s),
                        "routing_accuracy": fmean(s["routing_accuracy"] for s in scores if s)
                        if scores[0] and "routing_accuracy" in scores[0]
                        else None,
                    }
                )
    measures = ("rouge_l", "routing_accuracy")
    return grouped_means(parts, ("method", "prompt", "train_size", "learned_at", "evaluated_at"), measures)


def probes(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores under other instructions, means over seeds."""
    parts = [
        {key: cell[key] for key in ("method", "prompt", "train_size", "stage")}
        | {"instruction": kind}
        | scores
        for cell in cells
        for kind, scores in cell.get("probes", {}).items()
    ]
    keys = ("method", "prompt", "train_size", "stage", "instruction")
    return grouped_means(parts, keys, ("rouge_l", "routing_accuracy"))


def grouped_means(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], measures: Sequence[str]
) -> list[dict[str, Any]]:
    """One row for each combination of keys: means, and standard deviations where there are several rows."""
    found = []
    for spread in aggregate(rows, keys, measures):
        row = {key: spread[key] for key in keys}
        for name in measures:
            value = spread[name]
            row[name] = value and round(value.mean, 4)
            if value and value.std is not None:
                row[f"{name}_std"] = round(value.std, 4)
        found.append(row)
    return found
