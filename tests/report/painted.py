"""Plots that are painted but not drawn: drawing takes most of the time of a page."""

from __future__ import annotations

from typing import Any

import pytest


def save_nothing(_: object, out: Any, *, format: str, **__: object) -> None:
    """Stands for `Figure.savefig`."""
    out.write('<svg viewBox="0 0 1 1"><g id="points"/></svg>' if format == "svg" else b"png")


@pytest.fixture
def only_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test whose point is not the drawing; those of `tests/report` draw."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save_nothing)
