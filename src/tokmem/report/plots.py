"""Draws the report's plots: bars, curves, heat maps, scatters of numbers and names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from tokmem.report.canvas import INK, MUTED, SERIES, Plot, draw
from tokmem.report.labels import label_ends, name_points, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS, _DASHES = "osD^vPX", ("-", "--", "-.", ":")
_BESIDE = 24  # a longer name beside a line leaves it too little room
_LINE = 30  # most letters in a line of a bar's label: half of the plot's width
_LINE_HEIGHT = 0.65  # of such a line, where a bar with its gap is 1
_NAMED = 24  # more names than this cannot be read beside a plot
_ROW_HEIGHT = 0.17  # inches of a named row of a heat map, which holds a line of 8 points
_UNDER, _ABOVE = 1.9, 0.9  # inches for the names below a heat map, or for the clustering above it


class Point(NamedTuple):
    """A measured value at x, with its standard deviation if there are several seeds."""

    x: float
    mean: float
    std: float | None = None


class Line(NamedTuple):
    """A named series of points, with its place in `SERIES`."""

    label: str
    points: Sequence[Point]
    color: int


class Bar(NamedTuple):
    """A named value, with its place in `SERIES`; `group` is written above the first bar of each group."""

    group: str
    label: str
    mean: float
    std: float | None
    color: int


def bars(name: str, alt: str, rows: Sequence[Bar], unit: str) -> Plot:
    """Draws horizontal bars in groups. Each has its value at its end; long labels take several lines."""
    labels = [wrap(row.label, _LINE) for row in rows]
    places, headings, y = [], {}, 0.0
    for number, row in enumerate(rows):
        if row.group and (number == 0 or rows[number - 1].group != row.group):
            headings[y] = row.group
            y += 0.9
        extra = max(0.0, _LINE_HEIGHT * len(labels[number]) - 1)
        places.append(y + extra / 2)
        y += 1 + extra

    def paint(ax: Axes) -> None:
        widest = max(row.mean + (row.std or 0) for row in rows) or 1.0
        for place, row in zip(places, rows, strict=True):
            ax.barh(place, row.mean, height=0.62, color=SERIES[row.color])
            if row.std is not None:
                ax.errorbar(row.mean, place, xerr=row.std, color=INK, linewidth=1, capsize=2.5)
            end = row.mean + (row.std or 0) + 0.015 * widest
            ax.text(end, place, f"{row.mean:.1f}", va="center", fontsize=9)
        for place, heading in headings.items():
            ax.text(0, place, heading, va="center", fontsize=9, color=MUTED)
        ax.set_yticks(places, ["\n".join(lines) for lines in labels], color=INK)
        ax.set(xlabel=unit, xlim=(0, 1.12 * widest), ylim=(y - 0.4, -0.6))
        ax.grid(visible=False, axis="y")
        ax.tick_params(length=0)
        ax.spines["bottom"].set_visible(False)

    return draw(name, alt, paint, height=0.65 + 0.235 * y)


def curves(
    name: str,
    alt: str,
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    limits: tuple[float, float] | None = None,
) -> Plot:
    """Draws lines over x with their spread, and names each at its last point, or below if names are long.

    The axis of x is logarithmic if x spans a large range.

    Args:
        name: name of the plot.
        alt: what it shows, in words.
        lines: at least one, each with at least one point.
        x: title of x.
        y: title of y.
        limits: limits of y; None fits them to the lines.
    """
    xs = sorted({point.x for line in lines for point in line.points})
    named_below = max(len(line.label) for line in lines) > _BESIDE

    def paint(ax: Axes) -> None:
        if xs[0] > 0 and xs[-1] / xs[0] >= 8:
            ax.set_xscale("log")
        ends = []
        for number, line in enumerate(lines):
            color, points = SERIES[line.color], sorted(line.points)
            ax.errorbar(
                [p.x for p in points],
                [p.mean for p in points],
                yerr=[p.std or 0 for p in points] if any(p.std is not None for p in points) else None,
                color=color,
                marker=_MARKERS[line.color % len(_MARKERS)],
                linestyle=_DASHES[number % len(_DASHES)],
                elinewidth=1,
                capsize=2.5,
                label=line.label,
            )
            ends.append((points[-1].x, points[-1].mean, line.label, color))
        _ticks_at(ax, xs)
        ax.set(xlabel=x, ylabel=y)
        ax.margins(y=0.12)
        if limits is not None:
            ax.set_ylim(limits)
        if named_below:
            _name_below(ax, ends)
        else:
            label_ends(ax, ends)

    return draw(name, alt, paint, height=2.9 + 0.19 * len(lines) * named_below)


def heat_map(
    name: str,
    alt: str,
    values: Sequence[Sequence[float]],
    *,
    scale: tuple[float, float],
    unit: str,
    names: Sequence[str] = (),
    axes: tuple[str, str] = ("", ""),
    merges: Sequence[Sequence[float]] = (),
    order: Sequence[int] = (),
    gamma: float = 1.0,
) -> Plot:
    """Draws a matrix as colours.

    Args:
        name: name of the plot.
        alt: what it shows, in words.
        values: rows of numbers.
        scale: the numbers at the two ends of the colours.
        unit: unit of the numbers, beside the colours.
        names: names of rows and columns; written if they can be read.
        axes: titles of rows and columns.
        merges: a clustering as (left, right, distance), drawn above the matrix.
        order: order of the clustering's leaves.
        gamma: a value below 1 gives small numbers more of the colours.
    """
    size = len(values)
    named = [short(text) for text in names] if 0 < len(names) == size <= _NAMED else []
    font = 8 if size <= 16 else 6  # columns have less room than rows
    height = max(3.0, _ROW_HEIGHT * size + (_ABOVE if merges else _UNDER)) if named else 3.4

    def paint(ax: Axes) -> None:
        from matplotlib.colors import PowerNorm

        norm, extent = PowerNorm(gamma, *scale), (0, size, size, 0)
        # aspect: the layout does not shrink square cells to make room for names
        picture = ax.imshow(
            values, cmap="cividis", norm=norm, interpolation="none", extent=extent, aspect="auto"
        )
        ax.grid(visible=False)
        centres = [place + 0.5 for place in range(size)] if named else []
        ax.set_yticks(centres, named, fontsize=font)
        ax.set_xticks(centres, named if not merges else [""] * len(named), fontsize=font, rotation=90)
        ax.tick_params(length=0)
        ax.set(ylabel=axes[0], xlabel=axes[1])
        for spine in ax.spines.values():
            spine.set_visible(False)
        beside = ax.get_figure()
        assert beside is not None, "drawn on a figure"
        bar = beside.colorbar(picture, ax=ax, fraction=0.04, pad=0.02)
        bar.set_label(unit)
        bar.outline.set_visible(False)
        if merges:
            _dendrogram(ax, merges, order, size)

    return draw(name, alt, paint, height=height)


def scatter(
    name: str,
    alt: str,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    axes: tuple[str, str],
    color: int = 1,
) -> Plot:
    """Draws points in two dimensions, and names them if there are few; a page shows the name on hover."""

    def paint(ax: Axes) -> None:
        ax.scatter(
            [p[0] for p in points],
            [p[1] for p in points],
            s=22 if len(points) < 100 else 8,
            color=SERIES[color],
            gid="points",
        )
        ax.set(xlabel=axes[0], ylabel=axes[1])
        ax.margins(0.12)
        if len(names) <= _NAMED:
            name_points(ax, points, names)

    plot = draw(name, alt, paint, height=3.3)
    return replace(plot, svg=_named(plot.svg, f"{name}-points", names))


def _named(svg: str, group: str, names: Sequence[str]) -> str:
    """Gives each point of a group the title that a browser shows under the mouse."""
    start = svg.index(f'id="{group}"')
    waiting = iter(names)

    def titled(use: re.Match[str]) -> str:
        return f"{use[1]}><title>{escape(next(waiting))}</title></use>"

    return svg[:start] + re.sub(r"(<use [^>]*?)/>", titled, svg[start:], count=len(names))


def values_in_order(
    name: str,
    alt: str,
    series: Mapping[str, Sequence[float]],
    axes: tuple[str, str],
    least: float | None = None,
) -> Plot:
    """Draws one value a procedure, in the order of learning."""

    def paint(ax: Axes) -> None:
        ends = []
        for number, (label, values) in enumerate(series.items(), 1):
            places = range(1, len(values) + 1)
            size = 22 if len(values) < 100 else 7
            ax.scatter(places, values, s=size, color=SERIES[number], marker=_MARKERS[number])
            ends.append((float(len(values)), values[-1], label, SERIES[number]))
        ax.set(xlabel=axes[0], ylabel=axes[1])
        ax.margins(x=0.04, y=0.12)
        ax.set_ylim(bottom=least)
        if len(series) > 1:
            label_ends(ax, ends)

    return draw(name, alt, paint, height=2.4)


def _name_below(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names lines below the plot, from the one that ends highest to the lowest."""
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(ends)), key=lambda number: -ends[number][1])
    figure = ax.get_figure()
    assert figure is not None, "drawn on a figure"
    figure.legend(
        [handles[number] for number in order],
        [labels[number] for number in order],
        loc="outside lower left",
        frameon=False,
        handlelength=3.5,
    )


def _ticks_at(ax: Axes, xs: Sequence[float]) -> None:
    """Returns ticks at measured values, without those that would overlap."""
    logarithmic = ax.get_xscale() == "log"
    place = math.log if logarithmic else float
    span = place(xs[-1]) - place(xs[0]) or 1.0
    kept = [xs[-1]]
    for x in reversed(xs[:-1]):
        if (place(kept[-1]) - place(x)) / span > 0.09:
            kept.append(x)
    ax.set_xticks(kept, [f"{x:g}" for x in kept])
    ax.set_xticks([], minor=True)


def _dendrogram(ax: Axes, merges: Sequence[Sequence[float]], order: Sequence[int], size: int) -> None:
    """Draws the clustering above a matrix whose leaves stand in `order`."""
    from matplotlib.collections import LineCollection

    places: list[tuple[float, float]] = [(0.0, 0.0)] * len(order)
    for place, leaf in enumerate(order):
        places[leaf] = ((place + 0.5) * size / len(order), 0.0)
    brackets = []
    for left, right, distance in merges:
        (x1, y1), (x2, y2) = places[int(left)], places[int(right)]
        brackets.append([(x1, y1), (x1, distance), (x2, distance), (x2, y2)])
        places.append(((x1 + x2) / 2, distance))
    above = ax.inset_axes((0, 1.01, 1, 0.16))
    above.add_collection(LineCollection(brackets, colors=MUTED, linewidths=0.8))
    above.set(xlim=(0, size), ylim=(0, 1.05 * max(distance for _, _, distance in merges) or 1.0))
    above.set_axis_off()
