"""Means over seeds, with their standard deviations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokmem.report.tables import grouped_means

Rows = Sequence[Mapping[str, Any]]


def mean_rows(
    rows: Rows, keys: Sequence[str], measures: Sequence[str], of_one_seed: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """`grouped_means`, with the number of rows of each group as `seeds`.

    Args:
        rows: of all seeds.
        keys: what a row of the result is about.
        measures: numbers to average.
        of_one_seed: entries that are equal for all seeds or too long to average: the first seed's are shown.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    found = grouped_means(rows, keys, measures)
    for mean in found:
        members = groups[tuple(mean[key] for key in keys)]
        mean |= {name: members[0][name] for name in of_one_seed}
        mean["seeds"] = len(members)
    return found
