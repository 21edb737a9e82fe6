"""Reads queries to recall, without their responses."""

from __future__ import annotations

from pathlib import Path

from tokmem.data.calls.files import read_calls
from tokmem.data.fields import expect, parse_object, read_bytes, take, take_texts
from tokmem.errors import DataError
from tokmem.records import Example


def read_queries(path: Path, instruction: str = "") -> list[Example]:
    """Reads queries: one a line; JSON lines (.jsonl) of `query` or `messages`; or composed queries (.json).

    Objects may have an `instruction`, and right responses as `references`. Of `messages`, a chat as OpenAI
    writes it, the first message of the user counts.

    Args:
        path: the file.
        instruction: the instruction of queries that have none of their own.

    Raises:
        DataError: the file cannot be read, or holds no queries.
    """
    if path.suffix == ".json":
        return [Example(row.query, instruction=instruction) for row in read_calls(path)]
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8", "text", "save it as UTF-8") from error
    if path.suffix != ".jsonl":
        return parse_queries(text, str(path), instruction)
    return [_query(parse_object(line, where), where, instruction) for where, line in _lines(text, str(path))]


def _query(row: dict[str, object], where: str, instruction: str) -> Example:
    """Reads an object: its query, or the first message of a user, with right responses if there are any."""
    return Example(
        _first_message(row, where) if "messages" in row else take(row, "query", str, where),
        instruction=take(row, "instruction", str, where, instruction),
        references=take_texts(row, "references", where) if "references" in row else (),
    )


def _first_message(row: dict[str, object], where: str) -> str:
    for message in take(row, "messages", list, where):
        said = expect(message, dict, f"{where}: `messages`")
        if said.get("role") == "user":
            return take(said, "content", str, f"{where}: `messages`")
    raise DataError(f"{where}: no message of a user", 'a message of role "user"', "remove the line")


def parse_queries(text: str, source: str, instruction: str = "") -> list[Example]:
    """Reads a query from each line that is not blank.

    Args:
        text: the lines.
        source: names the text in errors.
        instruction: the instruction of all queries.

    Raises:
        DataError: there are no queries.
    """
    return [Example(line.strip(), instruction=instruction) for _, line in _lines(text, source)]


def _lines(text: str, source: str) -> list[tuple[str, str]]:
    """The lines that are not blank, each with its place."""
    lines = [(f"{source}, line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"no queries in {source}", "one a line")
    return lines
