"""Makes a JSON schema of a tool's parameters, from a schema or from xlam's description of them.

xlam describes a parameter by a Python type in words, such as "str, optional", "List[int]" or "Union[int,
float]".
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from tokmem.records import Procedure

Schema = dict[str, Any]

_SCALARS = {
    "str": "string", "string": "string", "date": "string", "datetime": "string", "time": "string",
    "int": "integer", "integer": "integer", "long": "integer",
    "float": "number", "number": "number", "double": "number",
    "bool": "boolean", "boolean": "boolean",
    "none": "null", "nonetype": "null", "null": "null",
}  # fmt: skip
_ARRAYS = {"list", "array", "set", "frozenset", "sequence", "iterable", "tuple"}
_OBJECTS = {"dict", "object", "mapping"}
_REMARK = re.compile(r"[,(]\s*(?:optional|default)\b.*$", re.IGNORECASE | re.DOTALL)
_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_KEPT = ("description", "enum", "default")
SCHEMA_KEYS = ("parameters", "inputSchema", "input_schema")  # of OpenAI, MCP and Anthropic


def json_schema(parameters: Mapping[str, Any]) -> Schema:
    """Returns the JSON schema of an object that holds a tool's arguments.

    Args:
        parameters: such a schema, which is returned as it is, or xlam's description. The latter maps an
            argument's name to its ``type``, and maybe ``description``, ``enum``, ``default`` and
            ``required``.

    Returns:
        A schema. An argument is required unless ``required`` says otherwise, its type is optional, or it has
            a
        default. An unknown type allows every value.

    Raises:
        TypeError: an argument's description is not a mapping.
    """
    if _is_schema(parameters):
        properties = parameters.get("properties", {})
        if not isinstance(properties, Mapping):
            raise TypeError(f"`properties` is {type(properties).__name__}")
        return {**parameters, "type": "object", "properties": properties}
    properties, required = {}, []
    for name, described in parameters.items():
        if not isinstance(described, Mapping):
            raise TypeError(f"parameter {name!r} is {type(described).__name__}")
        properties[name] = _property(described)
        if described.get("required", not _is_optional(described)):
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _is_schema(parameters: Mapping[str, Any]) -> bool:
    """Whether parameters are a schema. In xlam's form each value is a mapping that describes an argument."""
    if "type" in parameters:
        return parameters["type"] == "object"
    properties = parameters.get("properties")
    if isinstance(properties, Mapping) and all(isinstance(one, Mapping) for one in properties.values()):
        return True
    return any(isinstance(parameters.get(key), str | list) for key in ("$ref", "allOf", "anyOf", "oneOf"))


@lru_cache(maxsize=1024)  # every row has the same few types
def type_schema(text: str) -> Schema:
    """Returns the JSON schema of a Python type in words; {}, which allows everything, if the type is unknown.

    Equal texts share one schema: do not change it.
    """
    try:
        tree = ast.parse(_REMARK.sub("", text).strip(), mode="eval")
    except SyntaxError:
        return {}
    return _schema(tree.body)


def _property(described: Mapping[str, Any]) -> Schema:
    schema = type_schema(str(described.get("type", "")))
    kept = {key: described[key] for key in _KEPT if key in described}
    if not isinstance(kept.get("enum"), list):
        kept.pop("enum", None)  # null, or a text about the values
    if "enum" in kept and any(not _fits(value, schema) for value in kept["enum"]):
        schema = {}  # the listed values decide
    if "default" in kept and not _fits(kept["default"], schema):
        del kept["default"]
    return {**schema, **kept}


def _is_optional(described: Mapping[str, Any]) -> bool:
    words = str(described.get("type", "")).lower()
    return "default" in described or "optional" in words or _REMARK.search(words) is not None


def _fits(value: object, schema: Schema) -> bool:
    """Returns whether a value has a scalar's type; values of other types always fit."""
    kinds = _PYTHON.get(schema.get("type", ""))
    return kinds is None or (isinstance(value, kinds) and isinstance(value, bool) == (kinds is bool))


def _schema(node: ast.expr) -> Schema:
    """Reads ``List[int]``, ``int or str``, ``int | None``, ``np.ndarray``, ..."""
    if isinstance(node, ast.BoolOp):
        return _any_of(node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _any_of([node.left, node.right])
    if isinstance(node, ast.Subscript):
        inner = node.slice
        return _generic(_name(node.value), inner.elts if isinstance(inner, ast.Tuple) else [inner])
    if isinstance(node, ast.Constant) and node.value is None:
        return {"type": "null"}
    return _generic(_name(node), [])


def _name(node: ast.expr) -> str:
    """Returns the last name of ``typing.List`` or ``list``, in lower case; empty if the node is neither."""
    return (getattr(node, "id", "") or getattr(node, "attr", "")).lower()


def _generic(name: str, inner: Sequence[ast.expr]) -> Schema:
    if name in _SCALARS:
        return {"type": _SCALARS[name]}
    if name in ("optional", "union"):
        return _any_of(inner)
    if name == "tuple" and inner and not _is_ellipsis(inner[-1]):
        return {"type": "array", "items": _any_of(inner), "minItems": len(inner), "maxItems": len(inner)}
    if name in _ARRAYS:
        items = _schema(inner[0]) if inner else {}
        return {"type": "array", "items": items} if items else {"type": "array"}
    if name in _OBJECTS:
        values = _schema(inner[1]) if len(inner) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    return {}


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _any_of(nodes: Sequence[ast.expr]) -> Schema:
    """Allows one of several schemas; equal ones count once, and {} allows everything."""
    schemas: list[Schema] = []
    for schema in map(_schema, nodes):
        if schema not in schemas:
            schemas.append(schema)
    if not schemas or {} in schemas:
        return {}
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def signature(tool: Procedure) -> str:
    """Writes a tool on one line: `name(argument: type, optional?: type): Description`."""
    schema = tool.parameters or {}
    required, properties = schema.get("required", ()), schema.get("properties", {})
    arguments = ", ".join(
        f"{name}{'' if name in required else '?'}: {_kind(value)}" for name, value in properties.items()
    )
    return f"{tool.name}({arguments}): {' '.join(tool.description.split())}"


def _kind(schema: Any) -> str:
    """Names the type of an argument; if it has none, its alternatives or its values."""
    if not isinstance(schema, Mapping):
        return "any"
    if "type" in schema:
        kind = schema["type"]
        return " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "enum" in schema:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    return " or ".join(dict.fromkeys(map(_kind, schema.get("anyOf", ())))) or "any"


def start_text(procedure: Procedure) -> str:
    """Returns the words that a memory token can start from: a tool's name, arguments and description.

    Without parameters it is the description, or else the name.
    """
    if procedure.parameters is None:
        return procedure.description or procedure.name
    return " ".join((procedure.name, *procedure.parameters.get("properties", {}), procedure.description))
