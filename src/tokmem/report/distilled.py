"""The rows of a distillation result: means over the seeds of each task, and over all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokmem.report.rows import spread
from tokmem.report.tables import Row, Table, grouped_means, mean_rows

TRACK = "distil"
KEEPS = 0.95  # share of the teacher's score that counts as kept
SCORES = {
    "teacher": "teacher",
    "student": "student",
    "no_prompt": "no prompt",
    "kl": "KL",
    "kl_no_prompt": "KL no prompt",
    "saved_tokens": "tokens saved",
}
COSTS = {"trainable_parameters": "trained params", "seconds": "s"}
TASKS = {"procedure": "task", "method": "learned from", "width": "tokens", **SCORES}
MEANS = {
    "method": "learned from",
    "width": "tokens",
    "kept": f"keeps {KEEPS:.0%} of the teacher",
    **SCORES,
    **COSTS,
}
FORMATS = {
    "kl": ".2f",
    "kl_no_prompt": ".2f",
    "saved_tokens": ".0f",
    "trainable_parameters": ",.0f",
    "seconds": ".0f",
}
COMPOSED = ("exact", "form", "found")  # shares of answers, in percent
_MEASURES = (*SCORES, *COSTS)
_SEEDED = ("student", "kl")  # the measures that depend on the seed; the others have no spread

Line = dict[str, Any]


def is_distilled(result: Mapping[str, Any]) -> bool:
    """Returns whether a run belongs to the distillation track."""
    return result.get("track") == TRACK


def task_lines(rows: Sequence[Row]) -> list[Line]:
    """Makes a line for each task, method and number of tokens: means over seeds."""
    means = grouped_means(rows, ("procedure", "method", "tokens"), _MEASURES)
    return [
        {name: mean[name] for name in mean if not name.endswith("_std")} | {"width": mean["tokens"]}
        for mean in means
    ]


def mean_lines(rows: Sequence[Row]) -> list[Line]:
    """Makes a line for each method and number of tokens: means over tasks, with the spread over seeds."""
    of_seeds = grouped_means(rows, ("method", "tokens", "seed"), _MEASURES)
    means = mean_rows(of_seeds, ("method", "tokens"), _MEASURES)
    idle, tasks = {f"{name}_std" for name in _MEASURES if name not in _SEEDED}, task_lines(rows)
    lines = [{name: value for name, value in mean.items() if name not in idle} for mean in means]
    return [{**line, "width": line["tokens"], "kept": _kept(line, tasks)} for line in lines]


def _kept(mean: Row, tasks: Sequence[Line]) -> str | None:
    """Says on how many tasks a method keeps enough of its teacher; None if the teacher was not measured.

    Nothing can be kept of a teacher that scores 0.
    """
    own = [task for task in tasks if all(task[name] == mean[name] for name in ("method", "tokens"))]
    if any(task["teacher"] is None or task["student"] is None for task in own):
        return None
    kept = sum(task["student"] >= KEEPS * task["teacher"] > 0 for task in own)
    return f"{kept} of {len(own)} tasks"


def lines_table(lines: Sequence[Line], columns: Mapping[str, str]) -> Table:
    """Makes a table; values over several seeds have their spread."""
    cells = [
        {name: spread(line, name) if f"{name}_std" in line else line.get(name) for name in columns}
        for line in lines
    ]
    return Table(cells, columns, FORMATS)


def composed_table(rows: Sequence[Row]) -> Table:
    """Makes the table of composed procedures: a line for each way to ask and kind of pair, over the seeds."""
    lines = mean_rows(rows, ("method", "pairs"), COMPOSED)
    cells = [{**line, **{name: spread(line, name) for name in COMPOSED}} for line in lines]
    titles = {"method": "asked by", "pairs": "pairs", **{name: f"{name} %" for name in COMPOSED}}
    return Table(cells, titles)
