"""Reads queries to recall, without their responses."""

from __future__ import annotations

from pathlib import Path

from tokmem.data.calls.files import read_calls
from tokmem.data.fields import parse_object, read_bytes, take
from tokmem.errors import DataError
from tokmem.records import Example


def read_queries(path: Path, instruction: str = "") -> list[Example]:
    """Reads queries: one a line; objects with `query` in JSON lines (.jsonl); or composed queries (.json).

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
    rows = [(parse_object(line, where), where) for where, line in _lines(text, str(path))]
    return [
        Example(take(row, "query", str, where), instruction=take(row, "instruction", str, where, instruction))
        for row, where in rows
    ]


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
