"""The plots of routing, and the names of a token map's points."""

from __future__ import annotations

import re
import warnings

import pytest

from tests.report.summaries import continual
from tokmem.report.blocks import Figures
from tokmem.report.plots import Bar, bars, scatter
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
