from __future__ import annotations

import pytest

from tokmem.data.calls.schema import json_schema, type_schema

INTEGER, NUMBER, STRING = {"type": "integer"}, {"type": "number"}, {"type": "string"}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("str", STRING),
        ("str, optional", STRING),
        ("int, default is 5", INTEGER),
        ("float", NUMBER),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array"}),
        ("List[int]", {"type": "array", "items": INTEGER}),
        ("List[List[float]], optional", {"type": "array", "items": {"type": "array", "items": NUMBER}}),
        ("typing.List[str]", {"type": "array", "items": STRING}),
        ("Set[str]", {"type": "array", "items": STRING}),
        ("Tuple[int, ...]", {"type": "array", "items": INTEGER}),
        ("Tuple[int, int]", {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}),
        (
            "Tuple[int, str]",
            {"type": "array", "items": {"anyOf": [INTEGER, STRING]}, "minItems": 2, "maxItems": 2},
        ),
        ("Dict[str, float]", {"type": "object", "additionalProperties": NUMBER}),
        ("dict", {"type": "object"}),
        ("Union[int, float]", {"anyOf": [INTEGER, NUMBER]}),
        ("str or list[str]", {"anyOf": [STRING, {"type": "array", "items": STRING}]}),
        ("int | None", {"anyOf": [INTEGER, {"type": "null"}]}),
        ("Optional[int]", INTEGER),
        ("Union[str, Any]", {}),
        ("Any", {}),
        ("np.ndarray", {}),
        ("Callable[[float], float]", {}),
        ("a number, I think", {}),
        ("", {}),
    ],
)
def test_python_types_become_json_types(text, schema):
    assert type_schema(text) == schema


def test_parameters_become_a_schema_of_their_object():
    described = {
        "city": {"type": "str", "description": "A city."},
        "days": {"type": "int, optional", "description": "How many.", "default": 3},
        "unit": {"type": "str", "default": "C", "enum": ["C", "F"]},
        "note": {"type": "Optional[str]"},
        "named": {"type": "str", "required": False},
        "kept": {"type": "int, optional", "required": True},
    }
    assert json_schema(described) == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "A city."},
            "days": {"type": "integer", "description": "How many.", "default": 3},
            "unit": {"type": "string", "default": "C", "enum": ["C", "F"]},
            "note": STRING,
            "named": STRING,
            "kept": INTEGER,
        },
        "required": ["city", "kept"],
    }


def test_a_schema_stays_as_it_is():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x+"}}, "required": ["a"]}
    assert json_schema(schema) == schema
    assert json_schema({}) == {"type": "object", "properties": {}, "required": []}
    untyped = {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert json_schema(untyped) == {"type": "object", **untyped}
    referred = {"$ref": "#/$defs/s", "$defs": {"s": schema}}
    assert json_schema(referred) == {"type": "object", "properties": {}, **referred}
    named = {"properties": {"type": "str", "description": "of a house"}}
    assert json_schema(named)["properties"]["properties"]["type"] == "string", "an argument of that name"
    assert json_schema({"type": {"type": "int"}})["properties"] == {"type": INTEGER}, "an argument named type"


def test_what_does_not_fit_its_type_is_no_constraint():
    of = {
        "a": {"type": "int", "default": "1"},
        "b": {"type": "int", "enum": ["one", "two"]},
        "c": {"type": "bool", "default": False},
        "d": {"type": "int", "default": True},
        "e": {"type": "int", "enum": None},
        "f": {"type": "str", "enum": "one, two"},
    }
    assert json_schema(of)["properties"] == {
        "a": INTEGER,
        "b": {"enum": ["one", "two"]},
        "c": {"type": "boolean", "default": False},
        "d": INTEGER,
        "e": INTEGER,
        "f": STRING,
    }


def test_parameters_that_are_not_described_are_refused():
    with pytest.raises(TypeError, match="'city' is str"):
        json_schema({"city": "str"})


def test_a_schema_without_properties_takes_no_arguments() -> None:
    assert json_schema({"type": "object"}) == {"type": "object", "properties": {}}
    with pytest.raises(TypeError, match="`properties` is list"):
        json_schema({"type": "object", "properties": ["a"]})


def test_optional_in_brackets_is_a_remark() -> None:
    schema = json_schema({"city": {"type": "str (optional)"}})
    assert schema == {"type": "object", "properties": {"city": {"type": "string"}}, "required": []}
