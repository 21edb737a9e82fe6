"""Checks that a procedure's parameters are a usable JSON schema, and checks arguments against them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from tokmem.errors import DataError
from tokmem.records import Procedure
from tokmem.strict_json import MAX_SCHEMA_DEPTH, nests_deeper


def check_schema(procedure: Procedure, place: str = "") -> None:
    """Refuses parameters that are not the JSON schema of an object; a procedure without parameters passes.

    Args:
        procedure: the procedure to check.
        place: where it was read, such as a file and a line; errors begin with it.

    Raises:
        DataError: the schema is not valid, does not describe an object, refers to what is not in it, or nests
            deeper than `MAX_SCHEMA_DEPTH` levels.
    """
    if procedure.parameters is None:
        return
    where = f"{place}: the schema of {procedure.name!r}" if place else f"the schema of {procedure.name!r}"
    do = "mend its parameters, or leave them out"
    if not isinstance(procedure.parameters, Mapping):
        raise DataError(f"{where} is {procedure.parameters!r:.80}", "a JSON schema or None", do)
    schema = dict(procedure.parameters)
    if nests_deeper(schema, MAX_SCHEMA_DEPTH):
        raise DataError(f"{where} nests too deep", f"at most {MAX_SCHEMA_DEPTH} levels", "flatten it")
    validator = _validator(schema)
    try:
        type(validator).check_schema(schema)
        _follow_references(schema)
        validator.is_valid({})
    except SchemaError as error:
        raise DataError(f"{where}: {_reason(error)}", "a valid JSON schema", do) from error
    except Unresolvable as error:
        raise DataError(f"{where} refers to {error.ref!r}", "references to its own parts", do) from error
    except RecursionError as error:
        raise DataError(f"{where} refers to itself without end", "references that end", do) from error
    if not _of_object(schema):
        wanted = 'a schema of an object, such as {"type": "object", "properties": ...}'
        raise DataError(f"{where} is {json.dumps(schema):.80}", wanted, do)


def _of_object(schema: Mapping[str, Any]) -> bool:
    """Returns whether a schema describes an object, rather than being the bare mapping of its properties."""
    if "type" in schema:
        return "object" in schema["type"]  # one kind or a list of them
    return not schema or any(key in schema for key in ("properties", "$ref", "allOf", "anyOf", "oneOf"))


def _follow_references(schema: Mapping[str, Any]) -> None:
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    nodes: list[Any] = [schema]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                resolver.lookup(node["$ref"])
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


def argument_error(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Says what in the arguments breaks the schema, and where; None if they fit."""
    try:
        error = best_match(_validator(schema).iter_errors(arguments))
    except RecursionError:
        return "the arguments nest too deep"
    except OverflowError:
        return "a number is too large"
    return None if error is None else _reason(error)


def _validator(schema: Mapping[str, Any]) -> Validator:
    """Makes a validator of the draft that the schema names; it looks nothing up elsewhere."""
    named = isinstance(schema.get("$schema"), str)
    draft = validator_for(schema, default=Draft202012Validator) if named else Draft202012Validator
    return draft(dict(schema), registry=Registry())


def _reason(error: ValidationError | SchemaError) -> str:
    """Says what is wrong and where: `$.city: 5 is not of type 'string'`."""
    return f"{error.json_path}: {error.message}"
