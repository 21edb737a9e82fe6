"""Checks all entries of `bank.json`, and refuses wrong ones by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tokmem.bank.policy import MOMENTS, ClosedForm
from tokmem.bank.slots import IdPolicy
from tokmem.errors import BankError, ConfigError
from tokmem.records import Procedure
from tokmem.strict_json import MAX_SCHEMA_DEPTH, nests_deeper

REMEDY = "take the bank from a copy, or train a new one"
MOST = 1 << 31
"""Upper bound of the row counts, token ids and dimensions in a bank file."""


class _Kind(NamedTuple):
    """A kind of value: its name in messages, and its test."""

    name: str
    fits: Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST  # bool is an int to isinstance


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value)) and len(set(value)) == len(value)


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_names(values: Sequence[Any]) -> bool:
    return _are_texts(values) and len(set(values)) == len(values)


_TEXT = _Kind("a text", lambda value: isinstance(value, str))
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_COUNT = _Kind(f"a whole number from 0 to below {MOST}", _is_count)
_POSITIVE = _Kind("a whole number of at least 1", lambda value: _is_count(value) and value > 0)
_IDS = _Kind("a list of different token ids", _are_ids)
_SOME_IDS = _Kind("a list of one or more different token ids", lambda value: value != [] and _are_ids(value))
_OBJECT = _Kind("an object", lambda value: isinstance(value, dict))
_OPTIONAL_OBJECT = _Kind("an object or null", lambda value: value is None or isinstance(value, dict))
_TEXTS = _Kind("an object of texts", lambda value: isinstance(value, dict) and _are_texts(value.values()))
_NAMES = _Kind("a list of different names", lambda value: isinstance(value, list) and _are_names(value))
_PAIRS = _Kind(
    "a list of lists of different names",
    lambda value: isinstance(value, list) and all(map(_NAMES.fits, value)),
)
_LIST = _Kind("a list", lambda value: isinstance(value, list))
_POLICY = _Kind(f"one of {', '.join(get_args(IdPolicy))}", lambda value: value in get_args(IdPolicy))

_BANK = {
    "format": _COUNT,
    "dim": _POSITIVE,
    "coupled": _FLAG,
    "policy": _POLICY,
    "rows": _COUNT,
    "spare": _IDS,
    "retired": _IDS,
    "procedures": _LIST,
    "origin": _OBJECT,
    "tensors": _TEXT,
    "closed_form": _OBJECT,
    "statistics": _TEXT,
}
_PROCEDURE = {
    "name": _TEXT,
    "description": _TEXT,
    "parameters": _OPTIONAL_OBJECT,
    "ids": _SOME_IDS,
    "states": _COUNT,
    "joins": _FLAG,
    "pairs": _PAIRS,
}
_ORIGIN = {
    "backbone": _TEXT,
    "fingerprint": _TEXT,
    "chat": _TEXT,
    "training": _OBJECT,
    "configuration": _OBJECT,
    "source_sha256": _TEXT,
}
_CLOSED_FORM = {
    **{"names": _NAMES, "freedom": _COUNT, "policy": _OBJECT, "read_with": _TEXTS},
    **dict.fromkeys(MOMENTS, _POSITIVE),
}
# Banks of earlier versions lack some of these, and trained banks have no statistics.
_OPTIONAL = {
    "joins",
    "pairs",
    "chat",
    "training",
    "configuration",
    "source_sha256",
    "closed_form",
    "statistics",
    *MOMENTS,
}


def check_facts(facts: Mapping[str, Any], path: Path) -> None:
    """Checks every entry of a saved bank's facts, apart from what the slot map checks itself.

    Args:
        facts: the contents of `bank.json`, without the digest.
        path: of the file, for messages.

    Raises:
        BankError: an entry is missing, unknown, or of another kind.
    """
    _check(facts, _BANK, path, "")
    _check(facts["origin"], _ORIGIN, path, "origin.")
    for number, entry in enumerate(facts["procedures"]):
        where = f"procedures[{number}]"
        if not _OBJECT.fits(entry):
            raise _odd(path, where, entry, _OBJECT.name)
        _check(entry, _PROCEDURE, path, f"{where}.")
    _check_closed_form(facts, path)
    spare = [row for row in facts["spare"] if row >= facts["rows"]]
    if spare:
        raise _odd(path, "spare", spare[0], f"rows of the backbone, below {facts['rows']}")
    taken = {token for entry in facts["procedures"] for token in entry["ids"]}
    both = taken.intersection(facts["retired"])
    if both:
        raise _odd(path, "retired", min(both), "ids that no procedure has")


def _check_closed_form(facts: Mapping[str, Any], path: Path) -> None:
    """Checks what is said of the statistics, if there are any."""
    if ("closed_form" in facts) != ("statistics" in facts):
        raise BankError(f"{path} with closed_form or statistics alone", "both, or neither", REMEDY)
    if "closed_form" not in facts:
        return
    closed = facts["closed_form"]
    _check(closed, _CLOSED_FORM, path, "closed_form.")
    unknown = set(closed["names"]).difference(entry["name"] for entry in facts["procedures"])
    if unknown:
        raise _odd(path, "closed_form.names", sorted(unknown), "procedures of the bank")
    try:
        ClosedForm(**closed["policy"])
    except (ConfigError, TypeError) as error:
        raise _odd(path, "closed_form.policy", closed["policy"], f"a policy ({error})") from error


def _check(value: Mapping[str, Any], kinds: Mapping[str, _Kind], path: Path, where: str) -> None:
    for key in value:
        if key not in kinds:
            raise _odd(path, f"{where}{key}", value[key], "no such entry")
    for key, kind in kinds.items():
        if key not in value:
            if key not in _OPTIONAL:
                raise BankError(f"{path} without {where}{key}", kind.name, REMEDY)
        elif not kind.fits(value[key]):
            raise _odd(path, f"{where}{key}", value[key], kind.name)


def _odd(path: Path, where: str, value: Any, wanted: str) -> BankError:
    return BankError(f"{path}: {where} is {json.dumps(value):.80}", wanted, REMEDY)


def check_procedure(procedure: Procedure) -> None:
    """Refuses a procedure that no bank could save, before anything trains on it.

    Raises:
        BankError: the schema of the arguments is no JSON object, or is nested deeper than `MAX_SCHEMA_DEPTH`.
    """
    if not isinstance(procedure.parameters, Mapping | None):
        got = f"parameters {procedure.parameters!r:.80} of {procedure.name!r}"
        raise BankError(got, "a JSON schema or None", "correct the procedure")
    try:
        text = json.dumps(asdict(procedure), ensure_ascii=False, allow_nan=False)
        text.encode()
        if nests_deeper(json.loads(text)["parameters"], MAX_SCHEMA_DEPTH):
            raise ValueError("its parameters nest too deep")
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise BankError(
            f"procedure {procedure.name!r} cannot be saved ({error})",
            f"text and a JSON schema of at most {MAX_SCHEMA_DEPTH} levels",
            "correct its description or its parameters",
        ) from error
