"""Result files as tables: the same columns in the terminal, in the README, and in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokmem.report.tables import Spread, Table

ATOMIC = {
    "method": "method",
    "prompt": "prompt",
    "train_size": "examples /task",
    "stage": "tasks",
    "routing_accuracy": "routing %",
    "rouge_l": "ROUGE-L",
    "rouge_l_forced": "ROUGE-L forced",
    "exact_match": "exact %",
    "trainable_parameters": "trained params",
    "prompt_tokens_per_query": "prompt tokens /query",
    "train_seconds": "train s",
    "queries_per_second": "queries /s",
}
CAPACITY = {
    "method": "method",
    "embeddings": "embeddings",
    "train_size": "examples",
    "tokens": "tokens",
    "dimension": "dimension",
    "compliance": "#### %",
    "exact_match": "exact %",
    "perplexity": "perplexity",
    "steps_to_90": "steps @90%",
    "token_accuracy": "tokens right %",
    "recovered_sequences": "sequences recovered %",
    "recovered_tokens": "tokens recovered",
    "bits_per_embedding": "bits /embedding",
    "trainable_parameters": "trained params",
    "train_seconds": "train s",
}
COLUMNS = {"atomic": ATOMIC, "capacity": CAPACITY}  # track -> keys of its rows, with their titles
FORMATS = {"perplexity": ".2f", "steps_to_90": ".0f"}
SHOWN_WHERE_DIFFERENT = ("stage", "train_size", "dimension")


def results_table(summary: Mapping[str, Any]) -> Table:
    """The rows of a run's summary, values over several seeds with their spread."""
    known = {key for row in summary["rows"] for key in row}
    columns = {k: title for k, title in COLUMNS[summary.get("track", "atomic")].items() if k in known}
    rows = []
    for row in summary["rows"]:
        spreads = {
            name: Spread(value, row[f"{name}_std"], row["seeds"])
            for name, value in row.items()
            if f"{name}_std" in row
        }
        rows.append({name: spreads.get(name, row.get(name)) for name in columns})
    hidden = {name for name in SHOWN_WHERE_DIFFERENT if len({row.get(name) for row in rows}) == 1}
    shown = {name: title for name, title in columns.items() if name not in hidden}
    return Table(rows, shown, formats=FORMATS, title=summary["name"])
