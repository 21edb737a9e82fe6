"""The rows of a compositional result: one line for each method and test set, figures by number of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, harmonic_mean
from typing import Any

from tokmem.report.blocks import plain_number
from tokmem.report.rows import largest, method_title, spread
from tokmem.report.tables import Row

TRACK = "compositional"
FIGURES = {"tool_f1": "tool F1", "call_f1": "call F1"}
MEASURES = {
    "tool_precision": "tool precision",
    "tool_recall": "tool recall",
    "tool_f1": "tool F1",
    "call_f1": "call F1",
    "call_f1_forced": "call F1, tools given",
    "arguments_f1": "arguments F1",
    "call_exact": "exact %",
    "call_exact_ordered": "exact and in order %",
    "invalid_json": "invalid JSON %",
    "invalid_schema": "schema broken %",
    "retrieval_recall": "retrieval recall",
    "retrieval_precision": "retrieval precision",
}
_ADAPTATIONS = {
    "none": "no adaptation",
    "auxiliary": "adapted",
    "first_round": "first round's LoRA kept",
    "always": "LoRA always trained",
}

Line = dict[str, Any]


def is_compositional(result: Mapping[str, Any]) -> bool:
    """Returns whether a run belongs to the compositional track."""
    return result.get("track") == TRACK


def variant(row: Row) -> str:
    """Names a method, with its adaptation if that is unusual: auxiliary tools for TokMem, none for others."""
    usual = "auxiliary" if row["method"].startswith("tokmem") else "none"
    adaptation = row.get("adaptation") or usual
    return row["method"] if adaptation == usual else f"{row['method']}+adaptation={adaptation}"


def variant_title(row: Row) -> str:
    """Returns the title of a variant in tables."""
    title = method_title(row["method"])
    if variant(row) == row["method"]:
        return title
    return f"{title}, {_ADAPTATIONS.get(row['adaptation'], row['adaptation'])}"


def by_variant(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Groups rows by variant, in order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(variant(row), []).append(row)
    return groups


def final_calls(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows after each variant's last round, with the most calls in training."""
    rows = largest(rows, "train_max_calls")
    last = {name: max(row.get("round") or 0 for row in group) for name, group in by_variant(rows).items()}
    return [row for row in rows if (row.get("round") or 0) == last[variant(row)]]


def call_lines(rows: Sequence[Row], figures: Sequence[str] = tuple(FIGURES)) -> list[Line]:
    """Makes one line for each variant, number of calls in training, round and test set.

    Args:
        rows: rows, each with its number of `calls`, or `all`.
        figures: measures to spread over columns: `tool_f1 2`, `tool_f1 3`, ... and `tool_f1 average`.

    Returns:
        The contents of the rows over all numbers of calls, with a `title` and the columns.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (variant(row), row.get("train_max_calls"), row.get("round"), row.get("tools"))
        groups.setdefault(key, []).append(row)
    return [_line(members, figures) for members in groups.values()]


def figure_columns(lines: Sequence[Line], figures: Sequence[str] = tuple(FIGURES)) -> dict[str, str]:
    """Returns the titles of the columns that the lines have, figure by figure, by number of calls."""
    counts = sorted({int(key.split()[1]) for line in lines for key in line if key.split()[-1].isdecimal()})
    columns: dict[str, str] = {}
    for figure in figures:
        title = FIGURES[figure]
        columns |= {f"{figure} {n}": f"{title}, {n} {'call' if n == 1 else 'calls'}" for n in counts}
        columns |= {f"{figure} average": f"{title}, average"}
    return {key: title for key, title in columns.items() if any(line.get(key) is not None for line in lines)}


def over_test_sets(lines: Sequence[Line]) -> list[Line]:
    """Averages each variant over its test sets if it has several; the spread over seeds is then unknown."""
    means: list[Line] = []
    for group in by_variant(lines).values():
        if len(group) == 1:
            means.append(dict(group[0]))
            continue
        found = {key: _mean_of(key) for line in group for key in line if _mean_of(key)}
        kept = {key: value for key, value in group[0].items() if key.removesuffix("_std") not in found}
        numbers = {
            key: [n for line in group if (n := plain_number(line.get(key))) is not None] for key in found
        }
        averaged = {key: mean(numbers[key]) for key, mean in found.items() if mean and numbers[key]}
        means.append(kept | {"tools": "all"} | averaged)
    return means


def _mean_of(key: str) -> Callable[[Sequence[float]], float] | None:
    """How a column is averaged over test sets; None if it does not depend on the test set.

    Every test set counts alike: the time of a query is a mean, so its inverse is a harmonic mean.
    """
    if key == "queries_per_second":
        return harmonic_mean
    of_test_set = key in (*MEASURES, "prompt_tokens_per_query") or key.partition(" ")[0] in FIGURES
    return fmean if of_test_set else None


def headline(line: Row, figure: str) -> float | None:
    """Returns a line's average of a figure."""
    return plain_number(line.get(f"{figure} average"))


def _line(rows: Sequence[Row], figures: Sequence[str]) -> Line:
    whole = next((row for row in rows if row.get("calls") == "all"), rows[0])
    line: Line = {**whole, "title": variant_title(whole)}
    for figure in figures:
        cells = {row["calls"]: spread(row, figure) for row in rows if isinstance(row.get("calls"), int)}
        line |= {f"{figure} {calls}": cell for calls, cell in cells.items() if cell is not None}
        chained = [cell.mean for calls, cell in cells.items() if calls > 1 and cell is not None]
        line[f"{figure} average"] = fmean(chained) if len(chained) > 1 else spread(whole, figure)
    return line
