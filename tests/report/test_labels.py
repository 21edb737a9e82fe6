from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tokmem.report.labels import name_points, spread_apart


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 5.0], [1.0, 5.0]),
        ([1.0, 1.0], [0.5, 1.5]),
        ([0.0, 0.1, 9.0], [-0.45, 0.55, 9.0]),
        ([1.0, 1.0, 1.0, 1.6], [-0.35, 0.65, 1.65, 2.65]),
    ],
)
def test_labels_move_apart_and_no_further(values: list[float], expected: list[float]) -> None:
    assert spread_apart(values, 1.0) == pytest.approx(expected)


def test_names_of_close_points_do_not_cover_each_other() -> None:
    figure = Figure(figsize=(4.4, 3.3))
    ax = figure.add_subplot()
    points = [(0.0, 0.0), (0.1, 0.1), (0.05, -0.1), (5.0, 5.0), (5.1, 5.0)]
    ax.scatter(*zip(*points, strict=True))
    name_points(ax, points, [f"a_rather_long_name_{n}" for n in range(5)])
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == ["a_rather_long_nam…"] * 5
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
