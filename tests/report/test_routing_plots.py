"""The plots of routing, and the names of a token map's points."""

from __future__ import annotations

import re
import warnings
from io import StringIO
from itertools import pairwise
from typing import IO, Any

import pytest

from tests.report.painted import save_nothing
from tests.report.summaries import continual
from tokmem.report.blocks import Figures
from tokmem.report.plots import Bar, bars, heat_map, scatter
from tokmem.report.rows import Run
from tokmem.report.sections.routing import confusions

pytest.importorskip("matplotlib")


def test_reliability_is_drawn_beside_the_diagonal() -> None:
    section = confusions([Run("continual", "continual", continual())])
    (figures,) = (block for block in section.blocks if isinstance(block, Figures))
    (plot,) = (plot for plot, _ in figures.plots if plot.name.startswith("reliability"))
    assert plot.alt.endswith("50 % of 4 at 55 %; 94 % of 16 at 98 %")
    assert [">4<" in plot.svg, ">16<" in plot.svg] == [True, True]  # the queries of each circle


def test_each_point_of_a_map_has_its_name_under_the_mouse() -> None:
    names = ["<b>first</b>", "second", "third"]
    svg = scatter("map", "A map.", [(0.0, 1.0), (1.0, 0.0), (2.0, 2.0)], names, ("x", "y")).svg
    assert re.findall(r"<use [^>]*><title>(.*?)</title></use>", svg) == [
        "&lt;b&gt;first&lt;/b&gt;",
        *names[1:],
    ]


def test_a_long_label_leaves_room_for_its_bar() -> None:
    """Beside a label of one line matplotlib would have no room for the axes, and would say so."""
    long = "TokMem+DC, adaptation=auxiliary, addresses=closed, shared=frozen, stand_ins=16"
    rows = [Bar("", label, 50.0, None, 0) for label in (long, "TokMem")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = bars("long", "Bars.", rows, "%").svg
    lines = re.findall(r">([^<>]*(?:=|TokMem)[^<>]*)</", svg)
    assert " ".join(lines[:-1]) == long
    assert max(map(len, lines)) <= 30


@pytest.mark.parametrize("merges", [False, True])
@pytest.mark.parametrize("size", [2, 16, 24])
def test_the_names_beside_a_heat_map_do_not_cover_each_other(
    size: int, merges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda figure, out, **_: _save(figures, figure, out)
    )
    names = [f"procedure_with_a_long_name_{number}" for number in range(size)]
    tree = [(0, 1, 0.5), *((size + k, k + 2, 0.6) for k in range(size - 2))] if merges else []
    values = [[float(a == b) for b in names] for a in names]
    order = range(size) if merges else ()
    heat_map("heat", "A map.", values, scale=(0, 1), unit="%", names=names, merges=tree, order=order)
    (axes, _) = figures[0].axes
    for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert len(axes.get_yticklabels()) == size


def _save(figures: list[Any], figure: Any, out: IO[Any]) -> None:
    """Stands for `Figure.savefig`; lays the figure out."""
    figure.draw_without_rendering()
    figures.append(figure)
    save_nothing(figure, out, format="svg" if isinstance(out, StringIO) else "png")
