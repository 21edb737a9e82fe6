"""The blocks of a section of the page. The template gives each block its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

from tokmem.report.canvas import Plot
from tokmem.report.tables import Spread, Table


class Cell(NamedTuple):
    """A cell of a table: its text, the value to sort it by, and its looks."""

    text: str
    sort: Any
    numeric: bool
    best: bool
    bar: float | None


@dataclass(frozen=True)
class TableBlock:
    """A table.

    Attributes:
        caption: what the table shows.
        table: the rows; the first column names them.
        note: text below the table.
        group: key that is not a column; rows with the same value form a group under a heading.
        best: columns whose highest number in a group, to one digit, is set off.
        bars: columns of percentages with a bar behind each.
        folded: whether the table is folded until the reader opens it.
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
        """Returns the titles of the columns, and whether each holds numbers."""
        return [(title, self.table.numeric(key)) for key, title in self.table.titles.items()]

    def body(self) -> list[tuple[str, list[list[Cell]]]]:
        """Returns groups of rows under their headings."""
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
    """Plots side by side if there is room, each with its caption."""

    kind: ClassVar[str] = "figures"
    plots: Sequence[tuple[Plot, str]]


@dataclass(frozen=True)
class Tiles:
    """Headline numbers: value, name, and what to compare it with."""

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
    """A text shown verbatim on demand, such as an experiment file."""

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
        id: id of its heading; letters and hyphens.
        title: its heading.
        blocks: its contents; a section without blocks is left out.
    """

    id: str
    title: str
    blocks: Sequence[Block]

    def joined(self, other: Section) -> Section:
        """Returns the section with another's blocks after its own."""
        return replace(self, blocks=[*self.blocks, *other.blocks])

    @property
    def plots(self) -> list[Plot]:
        """Returns every plot in the section."""
        return [plot for block in self.blocks if isinstance(block, Figures) for plot, _ in block.plots]


def plain_number(value: Any) -> float | None:
    """Returns a cell as a number to compare; None if it is not a number."""
    if isinstance(value, Spread):
        return value.mean
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
