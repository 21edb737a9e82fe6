"""Passages to memorise: sequences of equal length, each marked with a query of its own.

A file of passages is a CSV with a text column (the usual format of books in chunks), or any text file, which
is one passage.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from tokmem.data.fields import did_you_mean, read_bytes
from tokmem.errors import ConfigError, DataError
from tokmem.seeds import stream
from tokmem.strict_json import decode_utf8

MarkerKind = Literal["word", "hash"]
_LETTERS = ("bcdfghjklmnprstvwz", "aeiou") * 3  # a random word takes one letter from each
_FIELD_LIMIT = 1 << 24  # characters; the csv module's own limit is too short for a chapter


@dataclass(frozen=True)
class Passages:
    """Texts in the order of their file.

    Attributes:
        texts: the texts; none of them is empty.
        checksum: sha256 (hex) of the file.
    """

    texts: tuple[str, ...]
    checksum: str


@dataclass(frozen=True)
class MarkedSequence:
    """A run of tokens to memorise, and the query that calls for it.

    Attributes:
        marker: the query: random words, or a hash of the tokens.
        ids: the tokens.
    """

    marker: str
    ids: tuple[int, ...]


def read_passages(path: Path, column: str = "text") -> Passages:
    """Reads the passages of a file.

    Args:
        path: `.csv` with a header, or any other text file, which is one passage.
        column: the CSV column that holds them.

    Raises:
        DataError: the file cannot be read, is empty or not UTF-8, has no such column, or a passage is empty.
    """
    content = read_bytes(path)
    try:
        text = decode_utf8(content)
    except ValueError as error:
        raise DataError(f"{path}: {error}", "a text file in UTF-8", "save it as UTF-8") from error
    if not text.strip():
        raise DataError(f"{path} is empty", "some text", "fill it, or name another file")
    texts = _column(path, text, column) if path.suffix.lower() == ".csv" else (text,)
    for number, one in enumerate(texts, 1):
        if not one.strip():
            raise DataError(f"{path}: passage {number} is empty", "some text", "remove it")
    if not texts:
        raise DataError(f"{path} holds no passages", "at least one row below the header", "check the path")
    return Passages(texts, hashlib.sha256(content).hexdigest())


def _column(path: Path, text: str, column: str) -> tuple[str, ...]:
    limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = list(rows.fieldnames or ())
        if column not in names:
            raise DataError(
                f"{path}: no column {column!r}{did_you_mean(column, names)}",
                f"one of its columns: {', '.join(names) or 'none'}",
                "name the column that holds the text",
            )
        return tuple(_cell(path, row, column, rows.line_num) for row in rows)
    except csv.Error as error:
        raise DataError(f"{path}: {error}", "a CSV file with a header", "mend the file") from error
    finally:
        csv.field_size_limit(limit)


def _cell(path: Path, row: Mapping[str | None, Any], column: str, line: int) -> str:
    """The text of a column in a row that ends at a line; refuses a row of more cells than the header."""
    if None in row:  # where the reader puts them
        raise DataError(
            f"{path}, line {line}: more cells than the header's",
            "a cell for each column",
            "put a text with commas in quotes",
        )
    return row[column] or ""


def cut(
    passages: Sequence[str], encode: Callable[[str], Sequence[int]], length: int
) -> tuple[tuple[int, ...], ...]:
    """Cuts all passages into sequences, in order; no sequence crosses from one passage into the next.

    Args:
        passages: the texts.
        encode: returns a text's token ids.
        length: tokens in a sequence; the rest at a passage's end is dropped.

    Raises:
        ConfigError: the length is below 1.
        DataError: a passage is shorter than one sequence.
    """
    if length < 1:
        raise ConfigError(f"sequences of {length} tokens", "at least 1")
    sequences: list[tuple[int, ...]] = []
    for number, text in enumerate(passages, 1):
        ids = encode(text)
        if len(ids) < length:
            raise DataError(
                f"passage {number} ({text[:40]!r}) has {len(ids)} tokens",
                f"at least the {length} of one sequence",
                "shorten the sequences, or leave the passage out",
            )
        sequences += [tuple(ids[i : i + length]) for i in range(0, len(ids) - length + 1, length)]
    return tuple(sequences)


def choose_runs(
    sequences: Sequence[tuple[int, ...]], runs: int, size: int, seed: int = 0
) -> list[list[tuple[int, ...]]]:
    """Chooses sequences for several runs: each run takes `size` neighbours from a start of its own.

    No two runs share a sequence.

    Raises:
        DataError: there are too few sequences.
    """
    starts = range(0, len(sequences) - size + 1, size)
    if len(starts) < runs:
        raise DataError(
            f"{len(sequences)} sequences",
            f"{runs} runs of {size} in a row: at least {runs * size}",
            "give more text, shorten the sequences, or lower runs or sizes",
        )
    chosen = stream(seed, "passages").sample(list(starts), runs)
    return [list(sequences[start : start + size]) for start in chosen]


def mark(
    sequences: Sequence[tuple[int, ...]],
    kind: MarkerKind = "word",
    id_length: int = 1,
    seed: int = 0,
    run: int = 0,
) -> list[MarkedSequence]:
    """Gives each sequence a marker of its own.

    Args:
        sequences: the sequences of one run. With hashes as markers, no two may be alike.
        kind: `word` is random pronounceable words, `hash` the beginning of the sha256 of the tokens.
        id_length: how many words, or groups of eight hex digits.
        seed: seeds the random words.
        run: number of the run; each run draws its own words.

    Raises:
        ConfigError: the kind is unknown, or the length is out of range.
        DataError: two sequences have the same hash.
    """
    if kind not in get_args(MarkerKind) or not 1 <= id_length <= 8:
        raise ConfigError(
            f"marker {kind!r} of length {id_length}", f"one of {', '.join(get_args(MarkerKind))}, 1 to 8"
        )
    if kind == "word":
        markers = _words(len(sequences), id_length, stream(seed, "markers", run))
    else:
        markers = [hashlib.sha256(str(list(ids)).encode()).hexdigest()[: 8 * id_length] for ids in sequences]
    if len(set(markers)) < len(markers):
        raise DataError("two sequences with the same hash", "a marker for each", "mark them with words")
    return [MarkedSequence(*pair) for pair in zip(markers, sequences, strict=True)]


def _words(count: int, words: int, rng: Random) -> list[str]:
    """Draws distinct texts of ``words`` random words each."""
    found: dict[str, None] = {}
    while len(found) < count:
        drawn = ("".join(rng.choice(letters) for letters in _LETTERS) for _ in range(words))
        found[" ".join(drawn)] = None
    return list(found)
