"""Writes names beside what is drawn, where they can be read, so that no legend is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokmem.report.canvas import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Box = tuple[float, float, float, float]
_AXES = (250.0, 180.0)  # about the width and height of a scatter's axes in points, before they are laid out
_SIDES = (
    (5, 0, "left"),
    (-5, 0, "right"),
    *((0, dy, side) for dy in (8, -8, 15, -15) for side in ("left", "right", "center")),
)


def short(text: str, most: int = 22) -> str:
    """Shortens a text to fit beside a plot."""
    return text if len(text) <= most else text[: most - 1] + "…"


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names lines beside their last points; names that would overlap move apart."""
    low, high = ax.get_ylim()
    right = max(x for x, _, _, _ in ends)
    ordered = sorted(ends, key=lambda end: end[1])
    heights = spread_apart([y for _, y, _, _ in ordered], (high - low) / 17)
    for height, (_, _, label, color) in zip(heights, ordered, strict=True):
        ax.annotate(
            label, (right, height), xytext=(7, 0), textcoords="offset points", va="center", fontsize=9,
            color=color, annotation_clip=False,
        )  # fmt: skip


def spread_apart(values: Sequence[float], gap: float) -> list[float]:
    """Moves ascending values as little as possible (least squares) so that neighbours are `gap` apart."""
    pools: list[
        tuple[float, int]
    ] = []  # mean of values that must move together (minus the gaps below), and their number
    for number, value in enumerate(values):
        mean, count = value - number * gap, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        pools.append((mean, count))
    flat = [mean for mean, count in pools for _ in range(count)]
    return [mean + number * gap for number, mean in enumerate(flat)]


def name_points(ax: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Writes a name beside each point. Chooses the side where it overlaps other names and points least."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    wide, tall = _AXES
    places = [(wide * (x - left) / (right - left), tall * (y - low) / (high - low)) for x, y in points]
    dots = [(x - 8, y - 4, x + 8, y + 4) for x, y in places]
    named: list[_Box] = []
    for number, (point, (x, y), name) in enumerate(zip(points, places, names, strict=True)):
        text = short(name, 18)
        boxes = [_box(x + dx, y + dy, text, side) for dx, dy, side in _SIDES]
        taken = [*dots[:number], *dots[number + 1 :], *named]
        covered = [sum(_overlap(box, other) for other in taken) + _outside(box) for box in boxes]
        best = covered.index(min(covered))
        named.append(boxes[best])
        dx, dy, side = _SIDES[best]
        ax.annotate(
            text, point, xytext=(dx, dy), textcoords="offset points", va="center", ha=side, fontsize=7.5,
            color=MUTED,
        )  # fmt: skip


def _box(x: float, y: float, text: str, side: str) -> _Box:
    width = 3.9 * len(text)
    left = {"left": x, "right": x - width, "center": x - width / 2}[side]
    return left, y - 4, left + width, y + 4


def _overlap(a: _Box, b: _Box) -> float:
    """Returns the area that two boxes share."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def _outside(box: _Box) -> float:
    """Returns the area of a box that lies outside the axes."""
    return (box[3] - box[1]) * (max(0.0, -box[0]) + max(0.0, box[2] - _AXES[0]))
