"""Files and names that cannot be used: each error names them, and nothing hangs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tokmem.bank.slots import IdSpace, SlotMap
from tokmem.data.calls.files import read_calls, read_descriptions
from tokmem.data.calls.xlam import read_xlam
from tokmem.data.fields import read_bytes, text_lines
from tokmem.data.gsm8k import load_gsm8k
from tokmem.data.jsonl import load_jsonl, read_jsonl, read_procedures
from tokmem.data.passages import read_passages
from tokmem.errors import BankError, DataError
from tokmem.records import has_visible_text

READERS = (
    read_jsonl,
    load_jsonl,
    read_procedures,
    read_calls,
    read_descriptions,
    read_passages,
    read_xlam,
    lambda path: load_gsm8k(path, path),
)
DEEP = "[" * 100_000


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_refused(read, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device; wanted: a regular file"):
        read(tmp_path / "pipe")
    for folder in (tmp_path, Path("."), Path("")):
        with pytest.raises(DataError, match="is a folder; wanted: a file"):
            read(folder)
    with pytest.raises(DataError, match=r"\\x00.*wanted: the path of a file"):
        read(tmp_path / "a\0b")


@pytest.mark.parametrize("read", READERS)
def test_utf_16_and_empty_files_are_told_apart(read, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes('{"query": "x"}\n'.encode("utf-16"))
    with pytest.raises(DataError, match="in UTF-16"):
        read(path)
    for nothing in (b"", b" \n\n", b"\xef\xbb\xbf"):
        path.write_bytes(nothing)
        with pytest.raises(DataError, match=r"is empty|there is no text"):
            read(path)


@pytest.mark.parametrize("read", READERS)
def test_deep_json_and_a_key_that_stands_twice_are_data_errors(read, tmp_path: Path) -> None:
    if read is read_passages:
        pytest.skip("reads no JSON")
    path = tmp_path / "rows.txt"
    for text in (DEEP, '{"a": ' + DEEP, '{"query": "x", "query": "y"}'):
        path.write_text(text)
        with pytest.raises(DataError):
            read(path)


def test_a_line_keeps_its_number() -> None:
    assert text_lines(b"\xef\xbb\xbf\n a \r\n\nb", "x") == [(2, b" a \r"), (4, b"b")]


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u200d\ufeff", "\u2060 \u00ad", "\u3164", "\u0301"])
def test_names_that_show_nothing_are_refused(name: str, tmp_path: Path) -> None:
    assert not has_visible_text(name)
    rows = tmp_path / "rows.jsonl"
    turn = {"procedure": name, "response": "r"}
    rows.write_text(json.dumps({"query": "q", "turns": [turn]}))
    with pytest.raises(DataError, match=r"`procedure` is .*wanted: a name that can be seen"):
        read_jsonl(rows)
    rows.write_text(json.dumps({"name": name}))
    with pytest.raises(DataError, match="`name` is"):
        read_procedures(rows)
    rows.write_text(json.dumps([{"name": name}]))
    with pytest.raises(DataError, match="`name` is"):
        read_descriptions(rows)
    rows.write_text(json.dumps([{"query": "q", "answers": [{"name": name}], "tools": [{"name": name}]}]))
    with pytest.raises(DataError, match="1 a call or tool without a name"):
        read_xlam(rows)
    with pytest.raises(BankError, match="visible text"):
        SlotMap(IdSpace(8)).add([name])


def test_names_in_any_script_are_visible() -> None:
    assert all(map(has_visible_text, ("a", "é", "e\u0301", "名", "👍🏽", "\u200bx", "1", "_")))


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\xff")
    assert read_bytes(tmp_path / "a") == b"\x00\xff"


def deep_schema(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, r"the schema of 'f': \$\.type: 'objekt' is not valid"),
        (deep_schema(40), "the schema of 'f' nests too deep; wanted: at most 64 levels"),
        ({"type": "object", "properties": {"a": {"$ref": "#/b"}}}, "the schema of 'f' refers to '/b'"),
    ],
)
def test_schemas_are_checked_when_procedures_are_read(schema, message: str, tmp_path: Path) -> None:
    corpus, listed = tmp_path / "rows.jsonl", tmp_path / "rows.procedures.jsonl"
    corpus.write_text(json.dumps({"query": "q", "turns": [{"procedure": "f", "response": "{}"}]}))
    listed.write_text("\n" + json.dumps({"name": "f", "parameters": schema}))
    with pytest.raises(DataError, match=rf"rows\.procedures\.jsonl, line 2: {message}"):
        load_jsonl(corpus)
    listed.write_text(json.dumps({"name": "f", "parameters": deep_schema(31)}))
    assert load_jsonl(corpus).procedures[0].parameters == deep_schema(31)


def test_schemas_are_checked_when_descriptions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    parameters = {"type": "object", "properties": {"a": {"type": "objekt"}}}
    path.write_text(json.dumps([{"name": "f", "parameters": parameters}]))
    with pytest.raises(DataError, match=r"tool 0: the schema of 'f': \$\.properties\.a\.type: 'objekt'"):
        read_descriptions(path)
