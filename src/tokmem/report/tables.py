"""Writes rows of numbers as a table: for the terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from tokmem.errors import DataError

Row = Mapping[str, Any]


class Spread(NamedTuple):
    """A value over seeds: mean, sample standard deviation (None for a single seed), and number of seeds."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Table:
    """Rows under common columns.

    Attributes:
        rows: cells by column; a missing cell or None is shown as a hyphen.
        columns: keys in order, with their titles; empty for the keys of the rows, in order of appearance.
        formats: format specification of a column's numbers, such as ".2f"; by default ".1f" and ",".
        title: text above the table in a terminal.
    """

    rows: Sequence[Row]
    columns: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @property
    def titles(self) -> Mapping[str, str]:
        """Returns the titles by key, in order."""
        return self.columns or {key: key for row in self.rows for key in row}

    def rich(self, whole: Sequence[str] = (), lines: bool = True) -> RichTable:
        """Makes the table for a rich console.

        Args:
            whole: keys of the columns whose cells never wrap.
            lines: whether to draw lines between cells.
        """
        table = RichTable(title=self.title or None)
        if not lines:
            table.box, table.padding, table.pad_edge = None, (0, 1, 0, 0), False
        for key, title in self.titles.items():
            justify: Literal["left", "right"] = "right" if self.numeric(key) else "left"
            table.add_column(Text(title), justify=justify, no_wrap=key in whole)
        for cells in self.shown():
            table.add_row(*(Text(cell) for cell in cells))  # Text: a procedure named [b] is no markup
        return table

    def markdown(self) -> str:
        """Writes the table in GitHub's Markdown, with a line feed at its end."""
        rules = ["---:" if self.numeric(key) else "---" for key in self.titles]
        lines = [[_cell(title) for title in self.titles.values()], rules]
        lines += [[_cell(cell) for cell in cells] for cells in self.shown()]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

    def csv(self) -> str:
        """Writes unrounded numbers under their keys; a spread takes three columns (`_mean`, `_std`, `_n`)."""
        names = [name for key in self.titles for name in self._csv_names(key)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            writer.writerow([cell for key in self.titles for cell in self._csv_cells(key, row.get(key))])
        return out.getvalue()

    def shown(self) -> list[list[str]]:
        """Returns every cell as text, a list a row."""
        return [[_show(row.get(key), self.formats.get(key)) for key in self.titles] for row in self.rows]

    def _present(self, key: str) -> list[Any]:
        return [row[key] for row in self.rows if row.get(key) is not None]

    def numeric(self, key: str) -> bool:
        """Returns whether a column holds numbers only."""
        cells = self._present(key)
        return bool(cells) and all(isinstance(cell, (int, float, Spread)) for cell in cells)

    def _spreads(self, key: str) -> bool:
        return any(isinstance(cell, Spread) for cell in self._present(key))

    def _csv_names(self, key: str) -> list[str]:
        return [f"{key}_{part}" for part in Spread._fields] if self._spreads(key) else [key]

    def _csv_cells(self, key: str, cell: Any) -> list[Any]:
        if not self._spreads(key):
            return [cell]
        return list(cell) if isinstance(cell, Spread) else [cell, None, None]


def aggregate(rows: Sequence[Row], keys: Sequence[str], values: Sequence[str]) -> list[dict[str, Any]]:
    """Makes one row for each combination of `keys`, in order of appearance, with the spread of `values`.

    A value that is None in all rows of a group stays None.

    Args:
        rows: one row a run.
        keys: columns that the runs of a group have in common, such as method and backbone.
        values: columns to average over the runs of a group, such as over seeds.

    Raises:
        DataError: a key is missing, or only some rows of a group have a value.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            raise DataError(f"a row with {', '.join(row)}", f"a row with {', '.join(keys)}")
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        {**dict(zip(keys, group, strict=True)), **{value: _spread(members, group, value) for value in values}}
        for group, members in groups.items()
    ]


def grouped_means(rows: Sequence[Row], keys: Sequence[str], measures: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each combination of keys: means, and standard deviations if there are several rows."""
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


def mean_rows(
    rows: Sequence[Row], keys: Sequence[str], measures: Sequence[str], of_one_seed: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """`grouped_means` over seeds, with the number of rows of each group as `seeds`.

    Args:
        rows: of all seeds.
        keys: what a row of the result is about.
        measures: numbers to average.
        of_one_seed: entries that are equal for all seeds or too long to average: the first seed's are shown.
    """
    found = grouped_means(rows, keys, measures)
    for mean in found:
        members = [row for row in rows if all(row[key] == mean[key] for key in keys)]
        mean |= {name: members[0][name] for name in of_one_seed} | {"seeds": len(members)}
    return found


def _spread(rows: Sequence[Row], group: tuple[Any, ...], value: str) -> Spread | None:
    numbers = [row[value] for row in rows if row.get(value) is not None]
    if not numbers:
        return None
    if len(numbers) < len(rows):
        got = f"{value} in {len(numbers)} of {len(rows)} runs of {group}"
        raise DataError(
            got, "a number from every run", "finish the missing runs: a mean of the rest would mislead"
        )
    return Spread(fmean(numbers), stdev(numbers) if len(numbers) > 1 else None, len(numbers))


def _show(value: Any, spec: str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Spread):
        spec = spec or ".1f"
        mean = format(value.mean, spec)
        return mean if value.std is None else f"{mean} ± {value.std:{spec}}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return format(value, spec or (".1f" if isinstance(value, float) else ","))
    return str(value)


def _cell(text: str) -> str:
    """Escapes text so that it cannot end its cell or its line."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def least_width(shown: RichTable) -> int:
    """Finds the least width in characters at which a rich table cuts nothing."""
    out = Console(width=1_000)
    return Measurement.get(out, out.options, shown).minimum
