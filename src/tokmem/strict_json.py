"""Strict reading of JSON: what the standard module lets pass silently, or fails on with another error."""

from __future__ import annotations

import codecs
import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 100
"""The most objects and lists within each other; deeper values break writing, checking and printing."""
MAX_SCHEMA_DEPTH = 64
"""The same for the schema of a procedure's arguments; validators recurse several times a level."""

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def parse_json(text: str | bytes, *, nan_as_null: bool = False) -> Any:
    """Parses JSON text.

    Args:
        text: a str, or bytes in UTF-8 with or without a byte order mark.
        nan_as_null: read NaN and infinity as null, for published files that hold them; else they are refused.

    Returns:
        The value.

    Raises:
        ValueError: the text is empty, is not JSON (NaN and infinity are not) or not UTF-8, holds a number
            that is too large, a key twice in one object or half of a surrogate pair, or nests deeper than
            `MAX_DEPTH` levels.
    """
    decoded = decode_utf8(text) if isinstance(text, bytes) else text
    if not decoded.strip():
        raise ValueError("there is no text")
    try:
        value = json.loads(
            decoded,
            parse_constant=_null if nan_as_null else _refuse_constant,
            parse_float=finite,
            object_pairs_hook=_unique,
        )
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    refuse_unwritable(value, pairs="\\ud" in decoded.lower())
    return value


def refuse_unwritable(value: object, *, pairs: bool = True) -> None:
    """Refuses a parsed value that cannot be written and checked.

    Args:
        value: what a JSON reader returned.
        pairs: whether its texts may hold half of a surrogate pair.

    Raises:
        ValueError: it nests deeper than `MAX_DEPTH` levels, or a text holds half of a surrogate pair.
    """
    if nests_deeper(value, MAX_DEPTH):
        raise ValueError(_TOO_DEEP)
    if pairs:
        _refuse_half_pairs(value)


def decode_utf8(content: bytes) -> str:
    """Decodes UTF-8 and removes a byte order mark.

    Raises:
        ValueError: the bytes are not UTF-8; the message names UTF-16 and UTF-32.
    """
    if (other := other_encoding(content)) is not None:
        raise ValueError(f"the text is in {other}, not in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 ({error.reason})") from error


def other_encoding(content: bytes) -> str | None:
    """Returns the name of the encoding if the bytes begin as UTF-16 or UTF-32 text does, else None."""
    for mark, name in _OTHER_ENCODINGS:
        if content.startswith(mark):
            return name
    return "UTF-16" if b"\0" in content[:2] and len(content) > 1 else None  # without a byte order mark


def nests_deeper(value: object, limit: int) -> bool:
    """Returns whether more than ``limit`` objects and lists stand within each other."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limit):
        values = (node.values() if isinstance(node, dict) else node for node in level)
        level = [inner for node in values for inner in node if isinstance(inner, (dict, list))]
        if not level:
            return False
    return bool(level)


_TOO_DEEP = f"it nests deeper than {MAX_DEPTH} levels"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object whose keys all differ."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return made


def finite(digits: str) -> float:
    """Refuses what Python would read as infinity, which nothing can write back."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits:.20} is too large")
    return number


def _null(constant: str) -> None:
    return None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _refuse_half_pairs(value: object) -> None:
    """Refuses text that cannot be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a surrogate pair") from error
