"""Drawn arguments fit their schema, are named in it, and differ."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tokmem.data.calls.schema_check import argument_error
from tokmem.data.lessons.arguments import draw_arguments
from tokmem.errors import DataError
from tokmem.records import Procedure

PROPERTIES: dict[str, Any] = {
    "city": {"type": "string"},
    "day": {"type": "string", "format": "date"},
    "unit": {"enum": ["C", "F"]},
    "count": {"type": "integer", "minimum": 3, "maximum": 5},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "flag": {"type": ["boolean", "null"]},
    "places": {"type": "array", "items": {"$ref": "#/$defs/place"}, "minItems": 2},
    "other": {"anyOf": [{"type": "integer"}, {"const": "none"}]},
}
PLACE = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"], "$defs": {"place": PLACE}}


def test_arguments_fit_and_differ() -> None:
    tool, rng = Procedure("t", "", SCHEMA), Random(0)
    drawn = [draw_arguments(tool, rng) for _ in range(40)]
    assert all(argument_error(SCHEMA, one) is None for one in drawn)
    assert all("city" in one for one in drawn)
    assert {name for one in drawn for name in one} == set(PROPERTIES)
    assert {one["unit"] for one in drawn if "unit" in one} == {"C", "F"}
    assert len({one["city"] for one in drawn}) > 5


def test_what_no_draw_can_meet_is_refused() -> None:
    schema = {**SCHEMA, "properties": {"city": {"type": "string", "pattern": "^x{9}$"}}}
    with pytest.raises(DataError, match="no arguments of 't'"):
        draw_arguments(Procedure("t", "", schema), Random(0))
