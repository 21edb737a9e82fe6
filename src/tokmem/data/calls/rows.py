"""Reads the raw rows of a table: a file of JSON, JSON lines or parquet, or a data set on the hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokmem.data.fields import read_bytes, text_lines
from tokmem.errors import DataError
from tokmem.strict_json import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = (".json", ".jsonl", ".parquet")


def load_rows(source: str | Path) -> tuple[Iterable[object], str]:
    """Reads the rows of a source without checking them.

    Args:
        source: a file, or a data set's id on the hub.

    Returns:
        The rows as the source has them, objects or not, and the sha256 (hex) of what was read.

    Raises:
        DataError: there is no such source, its format is another one, or a library that reads it is missing.
    """
    path = Path(source)
    if path.exists() or "\0" in str(source):
        content = read_bytes(path)
        checksum = hashlib.sha256(content).hexdigest()
        return (_parquet(path) if path.suffix == ".parquet" else _json_rows(path, content)), checksum
    if not _HUB_ID.fullmatch(str(source)) or path.suffix in _FILES:
        raise DataError(f"no file {path}", f"a file ({', '.join(_FILES)}) or a hub id", "check the path")
    rows = _hub(str(source))
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return rows, digest.hexdigest()


def parsed_or_none(value: object) -> object:
    """Parses JSON text and returns None if that fails; returns any other value as it is."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return None


def _json_rows(path: Path, content: bytes) -> Iterator[object]:
    """Yields the items of a list, or the lines one by one; a line that is not JSON becomes None."""
    lines = text_lines(content, str(path))
    if lines[0][1].lstrip()[:1] == b"[":
        try:
            yield from parse_json(content)
        except ValueError as error:
            raise DataError(f"{path}: {error}", "a list of objects in UTF-8", "mend the file") from error
        return
    for _, line in lines:
        yield parsed_or_none(line)


def _parquet(path: Path) -> list[object]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise DataError(f"{path} needs pyarrow", do='pip install "tokmem[data]"') from error
    try:
        table = read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: {error}", "a parquet file", "check the file") from error
    _refuse_nested(str(path), table.schema)
    return list(table.to_pylist())


def _hub(name: str) -> list[object]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(
            f"no file {name}; a hub id needs datasets", do='pip install "tokmem[data]"'
        ) from error
    try:
        rows = load_dataset(name, split="train")
    except (OSError, ValueError) as error:
        do = "check the name, the connection and the login; or download the file and name it"
        raise DataError(f"no file {name}, and no data set of that name: {error}", "a source", do) from error
    _refuse_nested(name, rows.features.arrow_schema)
    return list(rows)


def _refuse_nested(source: str, schema: pa.Schema) -> None:
    """Refuses objects within objects: a table gives all objects of a column the same keys, some of them null.

    Nobody could tell a call with an argument of null from a call without that argument.
    """
    for column in schema:
        if _object_depth(column.type) > 1:
            raise DataError(
                f"{source}: column {column.name!r} holds objects within objects, all with the same keys",
                "such columns as JSON text",
                "write them with json.dumps, or use a file of JSON",
            )


def _object_depth(kind: pa.DataType) -> int:
    """Returns how many objects stand within each other in values of a type."""
    from pyarrow.types import is_struct

    parts = [kind.field(index).type for index in range(kind.num_fields)]
    return int(is_struct(kind)) + max(map(_object_depth, parts), default=0)
