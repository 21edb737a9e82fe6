"""Reads and checks result files; what is not a result is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tokmem.errors import DataError
from tokmem.report.bank_geometry import KIND
from tokmem.strict_json import parse_json

ResultKind = Literal["run", "backbone", "geometry", "states"]
STATES = "states"  # the `kind` of a measurement of routing on states alone
_WANTED = (
    "a result of `tokmem run` (summary.json or results/TRACK/NAME.json), a geometry.json of "
    "`tokmem analyze`, or the measurements of the bundled backbone"
)
_DO = "check the path; `tokmem train` and `tokmem run` write results into the folder of the run"
_IN_A_FOLDER = ("summary.json", "geometry.json")
_NEEDED = {
    "run": {"name": str, "rows": list},
    "backbone": {"backbone_fingerprint": str, "exact_trained": dict},
    "geometry": {"name": str, "procedures": list, "tables": list},
    "states": {"name": str, "rows": list},
}


@cache
def _validator(kind: ResultKind) -> Draft202012Validator:
    """Checks what the report's sections rely on, by `result.schema.json`."""
    schema = json.loads(Path(__file__).with_name("result.schema.json").read_text("utf-8"))
    part = "run" if kind == "run" else "shown"
    return Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{part}"})


def read_result(path: Path) -> dict[str, Any]:
    """Reads a result file, or the result in a run's folder.

    Raises:
        DataError: there is none, it is not JSON, or it is not a result.
    """
    if path.is_dir():
        inside = [path / name for name in _IN_A_FOLDER if (path / name).is_file()]
        if not inside:
            raise DataError(f"no result in the folder {path}", " or ".join(_IN_A_FOLDER), _DO)
        path = inside[0]
    if not path.is_file():
        raise DataError(f"no file {str(path)!r}", _WANTED, _DO)
    try:
        value = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error})", _WANTED, "check the path") from error
    check_result(value, str(path))
    return value


def check_result(value: Any, where: str) -> ResultKind:
    """Returns the kind of a result.

    Raises:
        DataError: the value is not a result, or a row of it cannot be shown; the message begins with `where`.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is not a result: it holds a {type(value).__name__}", _WANTED)
    kind: ResultKind = "run"
    if value.get("kind") == KIND:
        kind = "geometry"
    elif value.get("kind") == STATES:
        kind = "states"
    elif "exact_trained" in value:
        kind = "backbone"
    for key, wanted in _NEEDED[kind].items():
        if not isinstance(value.get(key), wanted):
            raise DataError(f"{where} is not a result: it has no {key!r}", _WANTED)
    for problem in _validator(kind).iter_errors(value):
        raise DataError(f"{where}, {_place(problem)} is {problem.instance!r:.60}", _expected(problem))
    return kind


def _place(problem: ValidationError) -> str:
    """Names the place of a problem in a result, such as `rows[3].confusion[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path)
    return "".join(parts).lstrip(".") or "the result"


def _expected(problem: ValidationError) -> str:
    """What the schema wants there, in words."""
    schema: Any = problem.schema
    return str(schema["description"])
