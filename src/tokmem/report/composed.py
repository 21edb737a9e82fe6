"""Describes composed queries for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tokmem.data.calls.compose import Composed
from tokmem.data.corpus import SPLITS
from tokmem.report.tables import Table


def counts_table(composed: Mapping[str, Composed]) -> Table:
    """Makes a table of how many queries of each number of calls every split has.

    Args:
        composed: queries by the name of their tools.
    """
    counted = [
        (tools, split, Counter(len(example.turns) for example in made.examples(split)))
        for tools, made in composed.items()
        for split in SPLITS
    ]
    numbers = sorted({number for _, _, calls in counted for number in calls})
    titles = {str(number): f"{number} call{'s' if number > 1 else ''}" for number in numbers}
    rows = [
        {"tools": tools, "split": split, "queries": calls.total()}
        | {str(number): calls[number] for number in numbers}
        for tools, split, calls in counted
        if calls
    ]
    return Table(rows, {"tools": "tools", "split": "split", "queries": "queries", **titles})
