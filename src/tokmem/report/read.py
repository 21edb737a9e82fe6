"""Reads and checks result files; what is not a result is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tokmem.errors import DataError
from tokmem.report.bank_geometry import KIND
from tokmem.strict_json import parse_json

ResultKind = Literal["run", "backbone", "geometry", "states"]
STATES = "states"  # the `kind` of a measurement of routing on states alone
_WANTED = (
    "a result of `tokmem run` (summary.json or results/TRACK/NAME.json), a geometry.json of "
    "`tokmem analyze`, or the measurements of the bundled backbone"
)
_IN_A_FOLDER = ("summary.json", "geometry.json")
_TEXTS = ("method", "prompt", "instruction", "adaptation", "tools", "calls")
_GROUPED = ("train_max_calls", "train_size", "round", "stage", "learned_at", "evaluated_at")
_NEEDED = {
    "run": {"name": str, "rows": list},
    "backbone": {"backbone_fingerprint": str, "exact_trained": dict},
    "geometry": {"name": str, "procedures": list, "tables": list},
    "states": {"name": str, "rows": list},
}
_NUMBER = (int, float)
# What a result may hold beside what it must: the type, and the type of its items or values (None: any).
_MAY_HOLD: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(("backbone", "track", "task", "experiment"), (str, None)),
    **dict.fromkeys(("forgetting", "norms", "probes", "memorised"), (list, dict)),
    **dict.fromkeys(("procedures", "overrides"), (list, str)),
    **dict.fromkeys(("examples", "chosen_rates"), (dict, _NUMBER)),
    **dict.fromkeys(("exact_trained", "exact_held_out_instructed", "exact_other"), (dict, _NUMBER)),
    **dict.fromkeys(("provenance", "skipped", "training"), (dict, None)),
    "wall_seconds": (_NUMBER, None),
    "tables": (list, dict),
}
_SHAPES = {"memorise": ("embeddings", "tokens", "dimension"), "reason": ("embeddings", "train_size")}


def read_result(path: Path) -> dict[str, Any]:
    """Reads a result file, or the result in a run's folder.

    Raises:
        DataError: there is none, it is not JSON, or it is not a result.
    """
    if path.is_dir():
        inside = [path / name for name in _IN_A_FOLDER if (path / name).is_file()]
        if not inside:
            raise DataError(f"no result in the folder {path}", " or ".join(_IN_A_FOLDER), "check the path")
        path = inside[0]
    if not path.is_file():
        raise DataError(f"no file {str(path)!r}", _WANTED, "check the path")
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
    _check_contents(value, where)
    if kind == "run":
        _check_shapes(value, where)
        for key in ("rows", "forgetting", "norms", "probes"):
            for number, row in enumerate(value.get(key) or []):
                _check_row(row, f"{where}, {key}[{number}]")
    return kind


def _check_contents(value: Mapping[str, Any], where: str) -> None:
    """Requires the types that the report's sections rely on."""
    for key, (kind, inner) in _MAY_HOLD.items():
        held = value.get(key)
        if held is None:
            continue
        if not isinstance(held, kind):
            raise DataError(f"{where} holds {key!r}, a {type(held).__name__}", _WANTED)
        for item in (held.values() if isinstance(held, dict) else held) if inner else ():
            if not isinstance(item, inner):
                raise DataError(f"{where}, {key!r} holds {item!r:.60}", _WANTED)
    if not isinstance((value.get("provenance") or {}).get("versions") or {}, dict):
        raise DataError(f"{where}, 'provenance' has no mapping of versions", _WANTED)


def _check_shapes(value: Mapping[str, Any], where: str) -> None:
    """Requires that rows of the capacity track say what they were measured with."""
    task = value.get("task") if value.get("track") == "capacity" else None
    for number, row in enumerate(value["rows"]):
        for key in _SHAPES.get(str(task), ()):
            if not isinstance(row, Mapping) or not isinstance(row.get(key), int):
                raise DataError(f"{where}, rows[{number}] has no {key!r}", "a whole number")


def _check_row(row: Any, where: str) -> None:
    if not isinstance(row, Mapping) or not isinstance(row.get("method"), str):
        raise DataError(f"{where} names no method", _WANTED)
    nested = (Mapping, list, type(None))
    for key, value in row.items():
        if key in (*_TEXTS, *_GROUPED) and isinstance(value, (Mapping, list)):
            raise DataError(f"{where} has {key} = {value!r:.60}", "a text or a number")
        if key not in _TEXTS and not isinstance(value, (int, float, *nested)):
            raise DataError(f"{where} has {key} = {value!r}", "a number")
