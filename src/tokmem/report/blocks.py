"""What a section of the page is made of. The template gives each block its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

from tokmem.report.canvas import Plot
from tokmem.report.tables import Spread, Table


class Cell(NamedTuple):
    """A cell of a table: its text, what to sort it by, and how it looks."""

    text: str
    sort: Any
    numeric: bool
    best: bool
    bar: float | None


@dataclass(frozen=True)
class TableBlock:
    """A table.

    Attributes:
        caption: what it shows.
        table: its rows; the first column names them.
        note: stands below it.
        group: key, beside the columns, of what rows have in common: each group gets a heading.
        best: columns whose highest number in a group, to one digit, is set off.
        bars: columns of percentages with a bar behind each.
        folded: whether it is shown on demand.
    """

    kind: ClassVar[str] = "table"
    caption: str
    table: Table
    note: str = ""
    group: str = ""
    best: frozenset[str] = frozenset()
    bars: frozenset[str] = frozenset()
    folded: bool = False

    def head(self) -> list[tuple[str, bool]]:
        """Titles of the columns, and whether they hold numbers."""
        return [(title, self.table.numeric(key)) for key, title in self.table.titles.items()]

    def body(self) -> list[tuple[str, list[list[Cell]]]]:
        """Groups of rows under their headings."""
        texts = self.table.shown()
        numbered = [(row.get(self.group, ""), number) for number, row in enumerate(self.table.rows)]
        groups = []
        for heading, entries in groupby(numbered, key=lambda entry: entry[0]):
            places = [number for _, number in entries]
            best = self._best([self.table.rows[place] for place in places])
            cells = [self._cells(self.table.rows[place], texts[place], best) for place in places]
            groups.append((heading, cells))
        return groups

    def _best(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        numbers = {
            key: [n for row in rows if (n := plain_number(row.get(key))) is not None] for key in self.best
        }
        return {key: round(max(values), 1) for key, values in numbers.items() if len(values) > 1}

    def _cells(self, row: Mapping[str, Any], texts: Sequence[str], best: Mapping[str, float]) -> list[Cell]:
        cells = []
        for key, text in zip(self.table.titles, texts, strict=True):
            number = plain_number(row.get(key))
            is_best = number is not None and best.get(key) == round(number, 1)
            bar = number if key in self.bars else None
            sort = text if number is None else number
            cells.append(Cell(text, sort, self.table.numeric(key), is_best, bar))
        return cells


@dataclass(frozen=True)
class Figures:
    """Plots side by side where there is room, each with its caption."""

    kind: ClassVar[str] = "figures"
    plots: Sequence[tuple[Plot, str]]


@dataclass(frozen=True)
class Tiles:
    """Headline numbers: value, what it is, and what to compare it with."""

    kind: ClassVar[str] = "tiles"
    heading: str
    text: str
    tiles: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    heading: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """A text as it was written, such as an experiment file, shown on demand."""

    kind: ClassVar[str] = "listing"
    caption: str
    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"
    text: str


Block = TableBlock | Figures | Tiles | Facts | Listing | Note


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: of its heading; letters and hyphens.
        title: its heading.
        blocks: its contents; a section without any is left out.
    """

    id: str
    title: str
    blocks: Sequence[Block]

    def joined(self, other: Section) -> Section:
        """The section with another's blocks after its own."""
        return replace(self, blocks=[*self.blocks, *other.blocks])

    @property
    def plots(self) -> list[Plot]:
        """Every plot in it."""
        return [plot for block in self.blocks if isinstance(block, Figures) for plot, _ in block.plots]


def plain_number(value: Any) -> float | None:
    """A cell as a number to compare; None where it is none."""
    if isinstance(value, Spread):
        return value.mean
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
