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


NODE = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
HARD: dict[str, dict[str, Any]] = {
    "above": {"type": "integer", "exclusiveMinimum": 100},
    "below": {"type": "number", "maximum": -5},
    "between": {"type": "number", "minimum": 0.01, "maximum": 0.04},
    "any float": {"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308},
    "past floats": {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1},
    "huge": {"type": "integer", "minimum": 10**400},
    "multiple": {"type": "integer", "minimum": 10, "multipleOf": 50},
    "short": {"type": "string", "maxLength": 3},
    "long": {"type": "string", "minLength": 40},
    "all of": {"allOf": [{"$ref": "#/$defs/unit"}], "default": "C"},
    "either": {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "untyped": {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    "exact": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    "floats": {"type": "array", "items": {"maxLength": 3.0}, "minItems": 3.0, "maxItems": 3.0},
    "map": {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
    "anchor": {"$ref": "#here"},
    "escaped": {"$ref": "#/$defs/a~1b"},
    "listed": {"$ref": "#/$defs/pair/anyOf/1"},
    "tree": {"$ref": "#/$defs/node"},
    "undeclared": {"type": "object", "required": ["a"]},
}
DEFINED = {
    "unit": {"type": "string", "enum": ["C", "F"]},
    "here": {"$anchor": "here", "type": "integer"},
    "a/b": {"type": "boolean"},
    "pair": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "node": {**NODE, "required": ["kids"]},
}


@pytest.mark.parametrize("kind", HARD)
def test_arguments_fit_whatever_a_schema_asks_for(kind: str) -> None:
    schema = {"type": "object", "properties": {"x": HARD[kind]}, "required": ["x"], "$defs": DEFINED}
    for seed in range(20):
        drawn = draw_arguments(Procedure("t", "", schema), Random(seed))
        assert argument_error(schema, drawn) is None


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/s", "$defs": {"s": SCHEMA}}, {"allOf": [SCHEMA]}])
def test_the_whole_schema_may_stand_elsewhere(schema: dict[str, Any]) -> None:
    schema = {"$defs": {"place": PLACE}, **schema}
    schema["$defs"]["place"] = PLACE
    assert "city" in draw_arguments(Procedure("t", "", schema), Random(0))


def test_objects_without_end_are_refused() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}
    schema = {**node, "$defs": {"node": node}}
    with pytest.raises(DataError, match="'t' could be drawn: its objects hold each other without end"):
        draw_arguments(Procedure("t", "", schema), Random(0))


def test_what_no_draw_can_meet_is_refused() -> None:
    schema = {**SCHEMA, "properties": {"city": {"type": "string", "pattern": "^x{9}$"}}}
    with pytest.raises(DataError, match="no arguments of 't'"):
        draw_arguments(Procedure("t", "", schema), Random(0))
