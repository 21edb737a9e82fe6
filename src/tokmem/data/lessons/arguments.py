"""Draws arguments of a tool from its JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, inf, log10
from random import Random
from typing import Any
from uuid import UUID

from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tokmem.data.calls.schema_check import argument_error
from tokmem.errors import DataError
from tokmem.records import Procedure

_WORDS = (
    "Berlin", "Lima", "Anna Kern", "Omar", "green tea", "blue chair", "river", "Monday", "garden party",
    "piano", "winter coat", "Osaka", "Mr. Ortiz", "blueberry cake", "old bridge", "jazz", "night train",
)  # fmt: skip
_TRIES = 20
_FAR = 1e6  # how far from zero a number is drawn within bounds that are farther apart than floats reach
_DEEP = 3  # levels from which on only what must be there is drawn


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
        reason = "its objects hold each other without end"
        try:
            drawn = _object(_whole(schema, schema, rng), schema, rng, 0)
        except RecursionError:
            break
        reason = argument_error(schema, drawn) or ""
        if not reason:
            return drawn
    raise DataError(
        f"no arguments of {tool.name!r} could be drawn: {reason}",
        "a schema of types, enums, formats and ranges",
        "add `examples` to that part of the schema, give --queries with the calls' own requests, "
        f"or leave it out (--skip {tool.name})",
    )


def _whole(schema: Mapping[str, Any], root: Mapping[str, Any], rng: Random) -> dict[str, Any]:
    """A schema together with what it refers to, with all of `allOf`, and with one of its alternatives."""
    joined = {"$ref", "allOf", "anyOf", "oneOf"}
    parts: list[Any] = [{key: value for key, value in schema.items() if key not in joined}]
    if "$ref" in schema:
        parts.append(_referred(schema["$ref"], root))
    parts += schema.get("allOf", [])
    parts += [rng.choice(schema[key]) for key in ("anyOf", "oneOf") if schema.get(key)]
    made: dict[str, Any] = {}
    for part in (parts[0], *(_whole(one, root, rng) for one in parts[1:] if isinstance(one, Mapping))):
        properties = {**made.get("properties", {}), **part.get("properties", {})}
        required = [*made.get("required", ()), *part.get("required", ())]
        made |= part
        made |= {"properties": properties} if properties else {}
        made |= {"required": required} if required else {}
    return made


def _value(schema: Any, root: Mapping[str, Any], rng: Random, depth: int) -> Any:
    """Draws a value of a schema."""
    if not isinstance(schema, Mapping):
        return rng.choice(_WORDS)
    schema = _whole(schema, root, rng)
    for key in ("enum", "examples"):
        if schema.get(key):
            return rng.choice(schema[key])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type") or _kind(schema)
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        return _object(schema, root, rng, depth + 1)
    if kind == "array":
        return _array(schema, root, rng, depth + 1)
    return _scalar(kind, schema, rng)


def _kind(schema: Mapping[str, Any]) -> str:
    """The type of a schema that does not name it."""
    kinds = {"properties": "object", "items": "array", "minimum": "number", "maximum": "number"}
    return next((kind for key, kind in kinds.items() if key in schema), "string")


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], rng: Random, depth: int) -> dict[str, Any]:
    required, named = schema.get("required", ()), schema.get("properties", {})
    made = {
        name: _value(own, root, rng, depth)
        for name, own in named.items()
        if name in required or (depth < _DEEP and rng.random() < 0.5)
    }
    made |= {name: _value({}, root, rng, depth) for name in required if name not in named}
    others = schema.get("additionalProperties")
    if not named and isinstance(others, Mapping):
        made |= {rng.choice(_WORDS): _value(others, root, rng, depth + 1)}
    return made


def _array(schema: Mapping[str, Any], root: Mapping[str, Any], rng: Random, depth: int) -> list[Any]:
    items = schema.get("items")
    first = items if isinstance(items, list) else schema.get("prefixItems", [])  # drafts differ
    least = max(len(first), int(schema.get("minItems", 1 if depth <= _DEEP else 0)))  # JSON has 2.0 too
    most = len(first) if items is False else min(int(schema.get("maxItems", least + 1)), least + 1)
    count = rng.randint(min(least, most), most) if depth <= _DEEP else min(least, most)
    kinds = [*first, *[None if isinstance(items, list) else items] * count][:count]
    return [_value(kind, root, rng, depth) for kind in kinds]


def _scalar(kind: str, schema: Mapping[str, Any], rng: Random) -> Any:
    if kind in ("integer", "number"):
        return _number(schema, rng, whole=kind == "integer")
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
    drawn = formats.get(schema.get("format", ""), rng.choice(_WORDS))
    if schema.get("format") == "uuid":
        return str(UUID(int=rng.getrandbits(128), version=4))
    return _fitted(drawn, schema, rng)


def _fitted(text: str, schema: Mapping[str, Any], rng: Random) -> str:
    """Lengthens or cuts a text to the length that a schema allows."""
    while len(text) < schema.get("minLength", 0):
        text += f" {rng.choice(_WORDS)}"
    return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: Mapping[str, Any], rng: Random, *, whole: bool) -> Any:
    step = schema.get("multipleOf", 1)
    low, high = _range(schema, step)
    if whole or "multipleOf" in schema:
        exact = all(isinstance(one, int) for one in (low, high, step))  # floats lose digits
        first, last = (-(-low // step), high // step) if exact else (ceil(low / step), floor(high / step))
        drawn = rng.randint(first, max(first, last)) * step
        return int(drawn) if whole else drawn
    if high - low == inf:  # bounds of the type, which no request would name
        low, high = max(low, -_FAR), min(high, _FAR)
    wide = high - low
    return round(rng.uniform(low, high), 1 if wide >= 1 else 1 - floor(log10(wide))) if wide > 0 else low


def _range(schema: Mapping[str, Any], step: float) -> tuple[Any, Any]:
    """The least and the greatest number that a schema allows, or that is drawn where it sets no bound."""
    lows = [schema[key] for key in ("minimum", "exclusiveMinimum") if _is_bound(schema.get(key))]
    highs = [schema[key] for key in ("maximum", "exclusiveMaximum") if _is_bound(schema.get(key))]
    low = max(lows) if lows else min([1, *(high - 99 * step for high in highs if high < 1)])
    return low, min(highs) if highs else low + 99 * step


def _is_bound(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)  # a flag in old drafts


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """The part of the schema that a local reference such as `#/$defs/place` names."""
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(root))
    return resolver.lookup(reference).contents
