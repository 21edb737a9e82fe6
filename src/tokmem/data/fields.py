"""Takes typed values from parsed JSON; errors name the place and the key."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from tokmem.errors import DataError
from tokmem.records import has_visible_text
from tokmem.strict_json import other_encoding, parse_json

T = TypeVar("T")
_JSON_NAMES: dict[type, str] = {str: "a string", list: "a list", dict: "an object"}


def read_bytes(path: Path) -> bytes:
    """Reads a file.

    Raises:
        DataError: the path names no file, a folder, a pipe or a device, or the file cannot be read.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder", "a file", "name a file in it")
        if path.exists() and not path.is_file():  # a pipe that nobody writes to would block for ever
            raise DataError(f"{path} is a pipe or a device", "a regular file", "write its content to a file")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "a readable file", "check the path") from error
    except ValueError as error:  # a NUL in the path
        raise DataError(f"{str(path)!r}: {error}", "the path of a file", "check the path") from error


def text_lines(content: bytes, where: str) -> list[tuple[int, bytes]]:
    """Splits a file of JSON lines into the lines that are not blank, each with its number from 1.

    Raises:
        DataError: there is no text, or it is in UTF-16 or UTF-32; the message begins with ``where``.
    """
    if (other := other_encoding(content)) is not None:
        raise DataError(f"{where} is in {other}", "text in UTF-8", "save the file as UTF-8")
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    found = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise DataError(f"{where} is empty", "one JSON object a line", "fill it, or name another file")
    return found


def parse_object(text: str | bytes, where: str, *, nan_as_null: bool = False) -> dict[str, object]:
    """Parses one JSON object; ``where`` names its place in errors, `nan_as_null` is that of `parse_json`.

    Raises:
        DataError: the text is not JSON in UTF-8, or is no object.
    """
    try:
        value = parse_json(text, nan_as_null=nan_as_null)
    except ValueError as error:
        raise DataError(f"{where}: {error}", "one JSON object in UTF-8", "mend or remove it") from error
    return expect(value, dict, where)


def expect(value: object, kind: type[T], where: str) -> T:
    """Returns ``value`` if it is a ``kind``.

    Raises:
        DataError: the value has another type.
    """
    if not isinstance(value, kind):
        raise DataError(f"{where}: {type(value).__name__} {value!r:.60}", _JSON_NAMES[kind], "mend the file")
    return value


def take(raw: dict[str, object], key: str, kind: type[T], where: str, default: T | None = None) -> T:
    """Returns ``raw[key]`` as a ``kind``, or ``default`` if the key is missing and a default is given.

    Raises:
        DataError: the key is missing and has no default, or its value has another type.
    """
    if key in raw:
        return expect(raw[key], kind, f"{where}: `{key}`")
    if default is None:
        raise DataError(f"{where}: no `{key}`", f"`{key}`: {_JSON_NAMES[kind]}", "add it")
    return default


def take_name(raw: dict[str, object], key: str, where: str) -> str:
    """Returns ``raw[key]`` as the name of a procedure or tool.

    Raises:
        DataError: the key is missing, or its value is not a string or shows nothing.
    """
    name = take(raw, key, str, where)
    if not has_visible_text(name):
        raise DataError(f"{where}: `{key}` is {name!r}", "a name that can be seen", "give it a name")
    return name


def take_texts(raw: dict[str, object], key: str, where: str) -> tuple[str, ...]:
    """Returns ``raw[key]`` as texts; the value is a list of strings or one string.

    Raises:
        DataError: the key is missing, or holds something else.
    """
    value = raw.get(key)
    if isinstance(value, str):
        return (value,)
    items = take(raw, key, list, where)
    return tuple(expect(item, str, f"{where}: `{key}`[{index}]") for index, item in enumerate(items))


def refuse_unknown(
    raw: dict[str, object], known: Iterable[str], where: str, elsewhere: Mapping[str, str] | None = None
) -> None:
    """Refuses keys that nothing reads: otherwise a misspelt key would be lost silently.

    Args:
        raw: the object.
        known: the keys that are read.
        where: names its place in errors.
        elsewhere: keys of other libraries' files, and what they are called here.

    Raises:
        DataError: a key is not among ``known``.
    """
    known, elsewhere = list(known), elsewhere or {}
    for key in raw:
        if key not in known:
            found = f"{where}: unknown field `{key}`"
            if key in elsewhere:
                raise DataError(found, ", ".join(known), f"write {elsewhere[key]}")
            raise DataError(f"{found}{did_you_mean(key, known)}", ", ".join(known), "remove it")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a hint at the known names that resemble ``name``; empty if there are none."""
    close = get_close_matches(name, list(known), n=3)
    return f" (close: {', '.join(close)})" if close else ""
