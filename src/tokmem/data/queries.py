"""Reads queries to recall, without their responses."""

from __future__ import annotations

from pathlib import Path

from tokmem.data.calls.files import read_calls
from tokmem.data.fields import expect, parse_object, read_bytes, take, take_texts
from tokmem.errors import DataError
from tokmem.records import Example
from tokmem.strict_json import decode_utf8, parse_json


def read_queries(path: Path, instruction: str = "") -> list[Example]:
    """Reads queries: one a line; JSON lines of `query` or `messages`; or composed queries (.json).

    A file is read as JSON lines if its name ends in .jsonl, or if its first line is such an object. Objects
    may have an `instruction`, and right responses as `references`. Of `messages`, a chat as OpenAI writes it,
    the first message of the user counts.

    Args:
        path: the file.
        instruction: the instruction of queries that have none of their own.

    Raises:
        DataError: the file cannot be read, or holds no queries.
    """
    kind = path.suffix.lower()
    if kind == ".json":
        return [Example(row.query, instruction=instruction) for row in read_calls(path)]
    try:
        text = decode_utf8(read_bytes(path))
    except ValueError as error:
        raise DataError(f"{path}: {error}", "text in UTF-8", "save it as UTF-8") from error
    if kind != ".jsonl" and not _holds_objects(text):
        return parse_queries(text, str(path), instruction)
    return [_query(parse_object(line, where), where, instruction) for where, line in _lines(text, str(path))]


def _holds_objects(text: str) -> bool:
    """Whether the first line is an object with a query or a chat, as in a log."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        row = parse_json(first)
    except ValueError:
        return False
    return isinstance(row, dict) and ("query" in row or "messages" in row)


def _query(row: dict[str, object], where: str, instruction: str) -> Example:
    """Reads an object: its query, or the first message of a user, with right responses if there are any."""
    text = _first_message(row, where) if "messages" in row else take(row, "query", str, where)
    if not text.strip():
        raise DataError(f"{where}: an empty query", "some text", "remove the line")
    return Example(
        text,
        instruction=take(row, "instruction", str, where, instruction),
        references=take_texts(row, "references", where) if "references" in row else (),
    )


def _first_message(row: dict[str, object], where: str) -> str:
    for message in take(row, "messages", list, where):
        said = expect(message, dict, f"{where}: `messages`")
        if said.get("role") == "user":
            return _text_of(said, f"{where}: `messages`")
    raise DataError(f"{where}: no message of a user", 'a message of role "user"', "remove the line")


def _text_of(message: dict[str, object], where: str) -> str:
    """The content of a message: a text, or the texts among its parts."""
    if not isinstance(message.get("content"), list):
        return take(message, "content", str, where)
    parts = [expect(part, dict, f"{where}: `content`") for part in take(message, "content", list, where)]
    return "\n".join(take(part, "text", str, f"{where}: `content`") for part in parts if "text" in part)


def parse_queries(text: str, source: str, instruction: str = "") -> list[Example]:
    """Reads a query from each line that is not blank.

    Args:
        text: the lines.
        source: names the text in errors.
        instruction: the instruction of all queries.

    Raises:
        DataError: there are no queries.
    """
    lines = _lines(text.removeprefix("\ufeff"), source)  # Windows pipes text with a byte order mark
    return [Example(line.strip(), instruction=instruction) for _, line in lines]


def _lines(text: str, source: str) -> list[tuple[str, str]]:
    """The lines that are not blank, each with its place."""
    lines = [(f"{source}, line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"no queries in {source}", "one a line")
    return lines
