"""The names of methods and their variants in an experiment."""

from __future__ import annotations

from typing import Literal

import pytest

from tokmem.errors import ConfigError
from tokmem.tracks.variants import Variant

SETTINGS = {"tokmem": {"width": int, "renorm": Literal["off", "stage"], "shown": bool}, "base": {}}


def test_a_method_with_changes() -> None:
    variant = Variant.parse("tokmem+width=2+renorm=stage+shown=true", SETTINGS)
    assert variant.method == "tokmem"
    assert variant.changes == {"width": 2, "renorm": "stage", "shown": True}
    assert Variant.parse("base", SETTINGS) == Variant("base", "base", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tokmen", "tokmem"),
        ("tokmem+depth=2", "width=..., renorm=..., shown=..."),
        ("tokmem+width", "width=..."),
        ("tokmem+width=two", "type int"),
        ("tokmem+shown=yes", "true or false"),
        ("tokmem+renorm=stages", "one of off, stage"),
        ("base+width=2", "no settings"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Variant.parse(text, SETTINGS)
