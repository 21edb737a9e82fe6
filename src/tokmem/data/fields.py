"""Typed reading of parsed JSON: a value of the wanted type, or an error that names the place and the key."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from tokmem.errors import DataError

T = TypeVar("T")
_JSON_NAMES: dict[type, str] = {str: "a string", list: "a list", dict: "an object"}


def read_bytes(path: Path) -> bytes:
    """The file's content.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "a readable file", "check the path") from error


def parse_object(text: str | bytes, where: str) -> dict[str, object]:
    """Parses one JSON object; ``where`` names its place in errors.

    Raises:
        DataError: the text is not JSON in UTF-8, or is no object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: {error}", "one JSON object in UTF-8", "mend or remove it") from error
    return expect(value, dict, where)


def expect(value: object, kind: type[T], where: str) -> T:
    """``value`` if it is a ``kind``.

    Raises:
        DataError: it is of another type.
    """
    if not isinstance(value, kind):
        raise DataError(f"{where}: {type(value).__name__} {value!r:.60}", _JSON_NAMES[kind], "mend the file")
    return value


def take(raw: dict[str, object], key: str, kind: type[T], where: str, default: T | None = None) -> T:
    """``raw[key]`` as a ``kind``; ``default``, if one is given, where the key is missing.

    Raises:
        DataError: the key is missing and has no default, or its value is of another type.
    """
    if key in raw:
        return expect(raw[key], kind, f"{where}: `{key}`")
    if default is None:
        raise DataError(f"{where}: no `{key}`", f"`{key}`: {_JSON_NAMES[kind]}", "add it")
    return default


def take_texts(raw: dict[str, object], key: str, where: str) -> tuple[str, ...]:
    """``raw[key]`` as texts: a list of strings, or one string alone.

    Raises:
        DataError: the key is missing, or holds something else.
    """
    value = raw.get(key)
    if isinstance(value, str):
        return (value,)
    items = take(raw, key, list, where)
    return tuple(expect(item, str, f"{where}: `{key}`[{index}]") for index, item in enumerate(items))


def refuse_unknown(raw: dict[str, object], known: Iterable[str], where: str) -> None:
    """Refuses keys that nothing reads, for a misspelt key would be lost without a word.

    Raises:
        DataError: a key is not among ``known``.
    """
    known = list(known)
    for key in raw:
        if key not in known:
            raise DataError(
                f"{where}: unknown field `{key}`{did_you_mean(key, known)}", ", ".join(known), "remove it"
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known names that look like ``name``; empty where none does."""
    close = get_close_matches(name, list(known), n=3)
    return f" (close: {', '.join(close)})" if close else ""
