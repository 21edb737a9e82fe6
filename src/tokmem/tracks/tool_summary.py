"""What cells of the compositional track found, as the rows of a summary: means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokmem.tracks.summary import grouped_means

Rows = Sequence[Mapping[str, Any]]

KEYS = ("method", "adaptation", "train_max_calls")
SCORES = (
    *("tool_f1", "tool_precision", "tool_recall"),
    *("call_f1", "call_exact", "call_exact_ordered", "arguments_f1", "call_f1_forced"),
    *("invalid_json", "invalid_schema"),
)
MEASURES = (
    *SCORES,
    *("retrieval_recall", "retrieval_precision"),
    *("prompt_tokens_per_query", "train_seconds", "queries_per_second"),
)
# The same for all seeds, or too long to average: the first seed's are shown.
OF_ONE_SEED = (
    *("settings", "examples", "trainable_parameters", "steps"),
    *("new_examples", "replayed_examples"),
    *("adaptation_seconds", "adaptation_lora_parameters"),
)


def mean_rows(rows: Rows) -> list[dict[str, Any]]:
    """Means over seeds, standard deviations beside them where there are several."""
    keys = (*KEYS, "round", "tools", "calls")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    found = grouped_means(rows, keys, MEASURES)
    for row in found:
        members = groups[tuple(row[key] for key in keys)]
        row |= {name: members[0][name] for name in OF_ONE_SEED}
        row["seeds"] = len(members)
    return found


def forgetting(rows: Rows, tools: Sequence[str]) -> list[dict[str, Any]]:
    """The scores of each round's tools after that round and after each later one, means over seeds.

    Args:
        rows: of all cells.
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


def norms(rows: Rows) -> list[dict[str, Any]]:
    """Mean norms of each round's addresses and of earlier ones, means over seeds."""
    return grouped_means(rows, (*KEYS, "round"), ("mean_norm", "old_mean_norm"))
