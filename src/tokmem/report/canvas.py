"""Makes two outputs of one drawing: SVG with the colours of the page around it, and PNG on white."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokmem.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE = "#1b1f24", "#59636e", "#d5d9de"
SERIES = (
    *("#5f6b76", "#0072b2", "#00805e", "#c44e00", "#a8487f", "#8a6100"),
    *("#2b8cc4", "#6a51a3", "#4d7c0f", "#b3123f", "#1f3b8f"),
)
"""Line colours that colour-blind eyes can tell apart; the page has a dark counterpart of each."""

_VARIABLES = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    **{color: f"var(--series-{number})" for number, color in enumerate(SERIES)},
}
_WIDTH = 4.4  # inches: at the width of a phone a point is about a CSS pixel
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a procedure's name may hold dollar signs
    "svg.hashsalt": "tokmem",
    "font.size": 9.5,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes:
        name: unique on a page; letters, digits and hyphens.
        alt: what it shows, in words.
        svg: an `svg` element for a page that defines the colours' variables.
        png: the same on white.
    """

    name: str
    alt: str
    svg: str
    png: bytes


def require_matplotlib() -> None:
    """Refuses to go on without matplotlib.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "matplotlib is not installed", "the extra `plot`, which draws plots", "pip install 'tokmem[plot]'"
        ) from error


def draw(name: str, alt: str, paint: Callable[[Axes], None], *, height: float = 2.9) -> Plot:
    """Draws one pair of axes.

    Args:
        name: name of the plot.
        alt: what it shows, in words.
        paint: puts everything on the axes.
        height: height of the drawing in inches.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    defaults: dict[Any, Any] = {
        k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")
    }
    with matplotlib.rc_context({**defaults, **_STYLE}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        paint(figure.add_subplot())
        nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawn, pixels = io.StringIO(), io.BytesIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
        figure.savefig(pixels, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return Plot(name, alt, themed(drawn.getvalue(), name), pixels.getvalue())


def themed(svg: str, name: str) -> str:
    """Makes an `svg` element for a page: with ids of its own, and the page's font, colours and width."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    assert box is not None, "matplotlib writes one"
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body).replace("url(#", f"url(#{name}-")
    body = re.sub(r'\b(?:xlink:)?href="#', f'href="#{name}-', body).replace("xlink:href", "href")
    body = re.sub(r"(font: [^;\"]*?\d(?:\.\d+)?px) [^;\"]*", r"\1 var(--font)", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, variable)
    return f'<svg viewBox="{box[1]}" aria-hidden="true" focusable="false">{body.strip()}'.replace("\n", "")
