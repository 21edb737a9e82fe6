"""Queries are read from lines, JSON lines and logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tokmem.data.queries import parse_queries, read_queries
from tokmem.errors import DataError


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return path


def texts(path: Path) -> list[str]:
    return [example.query for example in read_queries(path)]


def chat(content: object) -> dict[str, object]:
    return {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": content}]}


def test_each_line_is_a_query(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "q.txt", "one", "", '{"not": "a query"}', "{two}\r")) == [
        "one",
        '{"not": "a query"}',
        "{two}",
    ]


@pytest.mark.parametrize("name", ["q.jsonl", "Q.JSONL", "q.log", "q.txt", "q.ndjson"])
def test_json_lines_are_known_by_their_first_line(tmp_path: Path, name: str) -> None:
    assert texts(write(tmp_path / name, {"query": "one"}, chat("two"))) == ["one", "two"]


def test_a_message_may_have_parts(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "this?"},
    ]
    assert texts(write(tmp_path / "q.jsonl", chat(parts))) == ["What is\nthis?"]


@pytest.mark.parametrize("row", [{"query": " "}, chat(""), chat([]), chat([{"type": "image_url"}])])
def test_a_row_without_text_is_refused_by_its_line(tmp_path: Path, row: object) -> None:
    with pytest.raises(DataError, match=r"q\.jsonl, line 2: an empty query"):
        read_queries(write(tmp_path / "q.jsonl", {"query": "one"}, row))


def test_a_part_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`content`"):
        read_queries(write(tmp_path / "q.jsonl", chat(["text"])))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes("one\ntwo\n".encode(encoding))
    with pytest.raises(DataError, match=r"q\.txt: the text is in UTF-16"):
        read_queries(path)


def test_a_byte_order_mark_of_piped_text_is_no_part_of_a_query() -> None:
    assert [one.query for one in parse_queries("\ufeffone\ntwo\n", "standard input")] == ["one", "two"]
