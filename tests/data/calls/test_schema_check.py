"""Schemas of tools, and arguments checked against them."""

from __future__ import annotations

from typing import Any

import pytest

from tokmem.data.calls.schema_check import MAX_SCHEMA_DEPTH, argument_error, check_schema
from tokmem.errors import DataError
from tokmem.records import Procedure


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, r"\$\.type: 'objekt'"),
        ({"type": "object", "required": "city"}, r"\$\.required"),
        ({"$schema": 5}, "schema"),
        ([1], r"is \[1\]; wanted: a JSON schema"),
        ({"type": "string"}, "wanted: a schema of an object"),
        ({"city": {"type": "str"}}, "wanted: a schema of an object"),
        ({"$ref": "#"}, "without end"),
        ({"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}}, r"refers to '/\$defs/y'"),
        ({"type": "object", "properties": {"x": {"$ref": "https://example.org/y"}}}, "example.org"),
    ],
)
def test_schemas_that_cannot_be_used_are_refused(schema: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        check_schema(Procedure("broken", parameters=schema))
    assert "'broken'" in str(error.value)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": ["object", "null"]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"type": {"type": "string"}}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}},
    ],
)
def test_schemas_of_objects_pass(schema: dict | None) -> None:
    check_schema(Procedure("fine", parameters=schema))


def test_a_schema_may_nest_as_deep_as_the_limit_says() -> None:
    schema: dict[str, Any] = {}
    for _ in range(MAX_SCHEMA_DEPTH // 2):
        schema = {"not": {"not": schema}}
    with pytest.raises(DataError, match=f"nests too deep; wanted: at most {MAX_SCHEMA_DEPTH} levels"):
        check_schema(Procedure("deep", parameters={"type": "object"} | schema))
    check_schema(Procedure("fine", parameters={"type": "object"} | schema["not"]["not"]))


def test_arguments_deeper_than_a_validator_can_follow_are_an_error_of_the_call() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    arguments: dict[str, Any] = {}
    for _ in range(900):
        arguments = {"a": arguments}
    assert argument_error(schema, arguments) == "the arguments nest too deep"
    assert argument_error(schema, {"a": {"a": {}}}) is None
    assert argument_error(schema, {"a": {"a": 1}}) == "$.a.a: 1 is not of type 'object'"


def test_a_number_that_no_float_can_hold_is_an_error_of_the_call() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.01}}}
    assert argument_error(schema, {"a": 10**400}) == "a number is too large"
