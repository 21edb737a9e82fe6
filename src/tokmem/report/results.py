"""Result files as tables, with the same columns in the terminal, in the README and in the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokmem.records import counted
from tokmem.report.call_lines import call_lines, figure_columns, final_calls, is_compositional, over_test_sets
from tokmem.report.distilled import FORMATS as DISTILLED_FORMATS
from tokmem.report.distilled import MEANS, is_distilled, mean_lines
from tokmem.report.rows import spread
from tokmem.report.tables import Row, Table

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
ADAPTATION = {  # of a backbone, before the first round; shared by methods and seeds
    "adaptation_lora_parameters": "adaptation LoRA params",
    "adaptation_seconds": "adaptation s",
}
COMPOSITIONAL = {  # beside tool F1 and call F1 by number of calls
    "call_exact": "calls exact %",
    "call_f1_forced": "call F1 forced",
    "invalid_json": "invalid JSON %",
    "trainable_parameters": "trained params",
    "prompt_tokens_per_query": "prompt tokens /query",
    "train_seconds": "train s",
    **ADAPTATION,
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
FORMATS = {"perplexity": ".2f", "steps_to_90": ".0f", **DISTILLED_FORMATS}
SHOWN_WHERE_DIFFERENT = ("stage", "train_size", "train_max_calls", "dimension")


def results_table(summary: Mapping[str, Any]) -> Table:
    """Makes a table of a run's summary; values over several seeds have their spread."""
    rows, columns = _rows_and_columns(summary)
    cells = [{name: _cell(row, name) for name in columns} for row in rows]
    hidden = {name for name in SHOWN_WHERE_DIFFERENT if len({row.get(name) for row in cells}) == 1}
    shown = {name: title for name, title in columns.items() if name not in hidden}
    return Table(cells, shown, formats=FORMATS, title=summary["name"])


def _rows_and_columns(summary: Mapping[str, Any]) -> tuple[Sequence[Row], Mapping[str, str]]:
    if is_compositional(summary):
        return _calls(summary)
    rows = summary["rows"]
    if is_distilled(summary):
        return mean_lines(rows), MEANS
    if summary.get("track") != "capacity":
        return rows, ATOMIC
    known = {key for row in rows for key in row}
    return rows, {name: title for name, title in CAPACITY.items() if name in known}


def _calls(summary: Mapping[str, Any]) -> tuple[Sequence[Row], Mapping[str, str]]:
    """Makes a line for each method and number of calls in training: after the last round, all test sets."""
    lines = []
    for most in dict.fromkeys(row.get("train_max_calls") for row in summary["rows"]):
        rows = final_calls([row for row in summary["rows"] if row.get("train_max_calls") == most])
        lines += [{**line, "method": line["title"]} for line in over_test_sets(call_lines(rows))]
    names = {"method": "method", "train_max_calls": "calls in training"}
    idle = {name for name in ADAPTATION if all(line.get(name) is None for line in lines)}
    costs = {name: title for name, title in COMPOSITIONAL.items() if name not in idle}
    return lines, {**names, **figure_columns(lines), **costs}


def _cell(row: Row, name: str) -> Any:
    return spread(row, name) if f"{name}_std" in row else row.get(name)


def result_facts(summary: Mapping[str, Any], folder: Path) -> list[str]:
    """Describes a run in one or two lines: procedures, examples, backbone, time, folder and chosen rates."""
    facts = [counted(len(summary["procedures"]))] if "procedures" in summary else []
    if "examples" in summary:
        counts = ", ".join(f"{count:,} {name}" for name, count in summary["examples"].items())
        facts.append(counts if summary.get("task") == "memorise" else f"{counts} examples")
    facts += [f"backbone {summary['backbone']}", f"{summary['wall_seconds']:.0f} s. Run folder: {folder}"]
    rates = ", ".join(f"{name} {rate:g}" for name, rate in (summary.get("chosen_rates") or {}).items())
    return ["; ".join(facts), *([f"Learning rates chosen on validation: {rates}"] if rates else [])]
