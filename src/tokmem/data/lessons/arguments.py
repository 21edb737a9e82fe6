"""Draws arguments of a tool from its JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from tokmem.data.calls.schema_check import argument_error
from tokmem.errors import DataError
from tokmem.records import Procedure

_WORDS = (
    "Berlin", "Lima", "Anna Kern", "Omar", "green tea", "blue chair", "river", "Monday", "garden party",
    "piano", "winter coat", "Osaka", "Mr. Ortiz", "blueberry cake", "old bridge", "jazz", "night train",
)  # fmt: skip
_TRIES = 20


def draw_arguments(tool: Procedure, rng: Random) -> dict[str, Any]:
    """Draws values for the required arguments, and for each other one in half of the calls.

    Args:
        tool: its parameters are a checked schema.
        rng: source of chance.

    Raises:
        DataError: no draw fits the schema, because of a condition that only its author can meet.
    """
    schema = dict(tool.parameters or {})
    for _ in range(_TRIES):
        drawn = _object(schema, schema, rng, 0)
        if argument_error(schema, drawn) is None:
            return drawn
    raise DataError(
        f"no arguments of {tool.name!r} could be drawn: {argument_error(schema, drawn)}",
        "a schema of types, enums, formats and ranges",
        "give --queries with the calls' own requests",
    )


def _value(schema: Any, root: Mapping[str, Any], rng: Random, depth: int) -> Any:
    """Draws a value of a schema."""
    if not isinstance(schema, Mapping):
        return rng.choice(_WORDS)
    if "$ref" in schema:
        return _value(_referred(schema["$ref"], root), root, rng, depth + 1)
    for key in ("enum", "examples"):
        if schema.get(key):
            return rng.choice(schema[key])
    if "const" in schema:
        return schema["const"]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _value(rng.choice(schema[key]), root, rng, depth + 1)
    kind = schema.get("type", "string")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        return _object(schema, root, rng, depth + 1)
    if kind == "array":
        least = schema.get("minItems", 1)
        return [
            _value(schema.get("items"), root, rng, depth + 1) for _ in range(rng.randint(least, least + 1))
        ]
    return _scalar(kind, schema, rng)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], rng: Random, depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: _value(own, root, rng, depth)
        for name, own in schema.get("properties", {}).items()
        if name in required or (depth < 3 and rng.random() < 0.5)
    }


def _scalar(kind: str, schema: Mapping[str, Any], rng: Random) -> Any:
    low, high = schema.get("minimum", 1), schema.get("maximum", schema.get("minimum", 1) + 99)
    if kind == "integer":
        return rng.randint(int(low), int(high))
    if kind == "number":
        return round(rng.uniform(low, high), 1)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    day = f"20{rng.randint(21, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00"
    formats = {
        "date": day,
        "time": f"{clock}Z",
        "date-time": f"{day}T{clock}Z",
        "email": f"{rng.choice(('ana', 'li', 'sam'))}{rng.randint(1, 99)}@example.com",
        "uri": f"https://example.com/{rng.randint(1, 999)}",
    }
    return formats.get(schema.get("format", ""), rng.choice(_WORDS))


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """The part of the schema that a local reference such as `#/$defs/place` names."""
    part: Any = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        part = part[key] if key else part
    return part
