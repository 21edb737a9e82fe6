"""The rows of a run's result: selecting and naming them, and counting the learned procedures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tokmem.errors import DataError
from tokmem.report.canvas import SERIES
from tokmem.report.tables import Row, Spread

_METHODS = {
    "base": ("base", 0),
    "tokmem": ("TokMem", 1),
    "tokmem_dc": ("TokMem+DC", 2),
    "lora": ("fine-tuning (LoRA)", 3),
    "replay": ("replay", 4),
    "rag": ("RAG", 5),
    "icl": ("in-context", 6),
    "rag_instructed": ("RAG, instructions indexed", 7),
    "prefix": ("prefix", 3),
    "peft_prompt": ("PEFT prompt tuning", 4),
    "peft_prefix": ("PEFT prefix tuning", 5),
}
_PROMPTS = {"instruction+query": "instruction and query", "query": "query alone"}


def method_title(method: str) -> str:
    """Returns a method's title in tables; `tokmem+renorm=stage` is a method with a changed setting."""
    name, *changes = method.split("+")
    return ", ".join([_METHODS.get(name, (name, 0))[0], *changes])


def method_colors(rows: Sequence[Row]) -> dict[str, int]:
    """Gives each method its own place in `SERIES`, or a free one while there are any."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colors = {method: _METHODS[method][1] for method in methods if method in _METHODS}
    for number, method in enumerate(methods):
        if method not in colors:
            free = [color for color in range(1, len(SERIES)) if color not in colors.values()]
            colors[method] = free[0] if free else number % len(SERIES)
    return colors


def prompt_title(row: Row) -> str:
    """Says what the prompt of a row holds; empty if the row does not say."""
    prompt = str(row.get("prompt") or "")
    return _PROMPTS.get(prompt, prompt)


def prompt_heading(row: Row) -> str:
    """Makes the heading of rows with one prompt mode."""
    title = prompt_title(row)
    return f"prompt: {title}" if title else ""


def spread(row: Row, measure: str) -> Spread | None:
    """Returns a measure of a row with its deviation over seeds; None if it was not measured.

    Raises:
        DataError: the row holds something else than numbers for it.
    """
    value, std, seeds = row.get(measure), row.get(f"{measure}_std"), row.get("seeds") or 1
    if value is None:
        return None
    if not all(isinstance(number, (int, float)) for number in (value, 0 if std is None else std, seeds)):
        raise DataError(
            f"a row of {row.get('method')} has {measure} = {value!r:.60} ± {std!r:.60}", "numbers"
        )
    return Spread(value, std, int(seeds))


def staged_rows(run: Mapping[str, Any]) -> list[Row]:
    """Returns the rows of all stages with the largest training set."""
    return largest(run["rows"])


def largest(rows: Sequence[Row], key: str = "train_size") -> list[Row]:
    """Returns the rows with the largest training set; all rows if none names its size."""
    sizes = {row[key] for row in rows if row.get(key) is not None}
    whole = [row for row in rows if row.get(key) is None]
    return whole or [row for row in rows if row[key] == max(sizes)]


def final_rows(run: Mapping[str, Any]) -> list[Row]:
    """Returns each method's and prompt mode's row with everything learned."""
    return _last_stages(staged_rows(run))


def _last_stages(rows: Sequence[Row]) -> list[Row]:
    last: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["method"], row.get("prompt"), row.get("train_size"))
        if key not in last or (row.get("stage") or 0) >= (last[key].get("stage") or 0):
            last[key] = row
    return list(last.values())


def sample_rows(run: Mapping[str, Any]) -> list[Row]:
    """Returns rows with everything learned that differ in training examples a procedure."""
    rows = [row for row in run["rows"] if row.get("train_size") is not None]
    return _last_stages(rows) if len({row["train_size"] for row in rows}) > 1 else []


def learned(run: Mapping[str, Any], row: Row) -> int | None:
    """Returns how many procedures had been learned when a row was measured."""
    stage = row.get("stage")
    if stage is not None:
        return int(stage)
    return len(run.get("procedures") or ()) or None


def stages(run: Mapping[str, Any]) -> list[int]:
    """Returns the numbers of procedures at which a run was measured, ascending."""
    return sorted({k for row in staged_rows(run) if (k := learned(run, row)) is not None})


def by_prompt(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Groups rows by prompt mode, in order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(prompt_title(row), []).append(row)
    yield from groups.items()


def by_method(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Groups rows by method, in order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    yield from groups.items()


class Run(NamedTuple):
    """A run's result with a title and a slug that no other run on the page has."""

    title: str
    slug: str
    result: Mapping[str, Any]


def slug(text: str) -> str:
    """Makes a text fit for an id or a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-") or "x"
