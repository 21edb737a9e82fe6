from __future__ import annotations

import json

import pytest

from tokmem.data import load_jsonl, read_jsonl, write_jsonl
from tokmem.errors import ConfigError, DataError
from tokmem.records import Demonstration, Example, Procedure, Turn


def row(query="q", procedure="a", **changes):
    return {"query": query, "turns": [{"procedure": procedure, "response": "r"}]} | changes


def write(path, *rows):
    path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in rows))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.jsonl"


def test_round_trip(path):
    examples = (
        Example(
            query="line\nbreak\u2028é ",
            turns=(Turn("a", " r "), Turn("b", "")),
            instruction="do",
            references=(" r ", "s"),
            demonstrations=(
                Demonstration("p", "t"),
                Demonstration("u", "v", "own"),
                Demonstration("w", "x", ""),
            ),
            id="x",
        ),
        Example(query="second", turns=(Turn("a", "r"),), id="y"),
    )
    write_jsonl(path, examples)
    assert read_jsonl(path) == examples


def test_a_row_of_one_procedure_needs_no_list(path):
    write(path, {"query": "q", "procedure": "a", "response": "r"}, {"query": "q", "response": "r"})
    with pytest.raises(DataError, match="line 2: no `procedure`"):
        read_jsonl(path)
    flat, bare = read_jsonl(path, procedure="b")
    listed, _ = read_jsonl(write(path, row(), row(procedure="b")))
    assert (flat, bare.turns) == (listed, (Turn("b", "r"),))
    write(path, {"query": "q", "procedure": None, "response": "r"})
    assert read_jsonl(path, procedure="b")[0].turns == (Turn("b", "r"),)


def test_a_failed_write_leaves_the_old_file(path):
    write_jsonl(path, [Example(query="old", turns=(Turn("a", "r"),), id="x")])
    before = path.read_bytes()

    def broken():
        yield Example(query="new", turns=(Turn("a", "r"),))
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_jsonl(path, broken())
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["mine.jsonl"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{oops", "line 3: Expecting"),
        ("[]", "line 3: list"),
        ({"turns": []}, "line 3: no `query`"),
        (row(query=" "), "line 3: empty `query`"),
        (row(query=7), "line 3: `query`: int 7"),
        (row(turns=[]), "line 3: empty `turns`"),
        ({"query": "q"}, "line 3: no `procedure`"),
        ({"query": "q", "procedure": "a"}, "line 3: no `response`"),
        ({"query": "q", "procedure": "", "response": "r"}, "`procedure` is ''"),
        ({"query": "q", "procedure": "a", "completion": "r"}, "write `response`"),
        ({"messages": []}, "write `query`, `procedure` and `response`"),
        (row(response="r"), "line 3: `response` beside `turns`"),
        (row(turns=[{"procedure": "a"}]), r"line 3: `turns`\[0\]: no `response`"),
        (row(turns=[{"procedure": "", "response": "r"}]), r"line 3: `turns`\[0\]: `procedure` is ''"),
        (row(turns=[{"procedure": "a", "response": "r", "instruction": "i"}]), "unknown field `instruction`"),
        (row(demonstrations=[{"query": "q", "response": "r", "instruction": 1}]), "`instruction`: int 1"),
        (row(references=[1]), r"line 3: `references`\[0\]: int"),
        (row(instructions="do"), r"line 3: unknown field `instructions` \(close: instruction"),
        (row(split="dev"), "line 3: `split` is 'dev'"),
        (row(id="mine-1"), "line 3: id 'mine-1' stands at .*line 1 too"),
    ],
)
def test_errors_give_the_line(path, bad, message):
    write(path, row(), "", bad)
    with pytest.raises(DataError, match=message):
        read_jsonl(path)


def test_no_examples_and_no_file(path):
    with pytest.raises(DataError, match="No such file"):
        read_jsonl(path)
    with pytest.raises(DataError, match="is empty"):
        read_jsonl(write(path, ""))


def test_split_by_content_whatever_the_order(path, tmp_path):
    rows = [row(f"q{i}", procedure) for procedure in "ab" for i in range(20)]
    corpus = load_jsonl(write(path, *rows), validation=0.2, test=0.1)
    turned = load_jsonl(write(tmp_path / "turned.jsonl", *reversed(rows)), validation=0.2, test=0.1)
    assert corpus.names == ("a", "b")
    for split in ("train", "validation", "test"):
        found, again = ({e.query for e in c.examples(split)} for c in (corpus, turned))
        assert len(found) == {"train": 14, "validation": 4, "test": 2}[split]
        assert found == again


def test_a_query_never_stands_in_two_splits(path):
    rows = [row(f"q{i % 5}", "ab"[i % 2], id=str(i)) for i in range(40)]
    corpus = load_jsonl(write(path, *rows), validation=0.3, test=0.3)
    found = [{e.query for e in corpus.examples(split)} for split in ("train", "validation", "test")]
    assert all(found)
    assert sum(map(len, found)) == 5


def test_the_split_field_decides(path):
    write(path, row("1", split="train"), row("2", split="test"), row("3", "b", split="validation"))
    corpus = load_jsonl(path)
    assert [e.query for e in corpus.test["a"]] == ["2"]
    assert corpus.test["b"] == ()
    with pytest.raises(DataError, match="line 2: no `split`"):
        load_jsonl(write(path, row("1", split="train"), row("2")))


def test_procedures_beside_the_file(path, tmp_path):
    schema = {"type": "object"}
    listing = tmp_path / "mine.procedures.jsonl"
    write(listing, {"name": "b", "description": "B", "parameters": schema}, {"name": "a"})
    corpus = load_jsonl(write(path, row()))
    assert corpus.procedures == (Procedure("b", "B", schema), Procedure("a"))
    assert corpus.train["b"] == ()
    before = corpus.checksum
    write(listing, {"name": "aa"})
    with pytest.raises(DataError, match=r"line 1: unknown procedure 'a'.*wanted"):
        load_jsonl(path)
    write(listing, {"name": "a"}, {"name": "a"})
    with pytest.raises(DataError, match="line 2: `name` is 'a'"):
        load_jsonl(path)
    write(listing, {"name": "a"})
    assert load_jsonl(path).checksum != before


def test_shares_are_checked(path):
    with pytest.raises(ConfigError, match="validation"):
        load_jsonl(write(path, row()), validation=0.5, test=0.5)


def test_shares_that_leave_nothing_for_training_are_refused(path):
    write(path, *(row(str(i)) for i in range(4)))
    with pytest.raises(ConfigError, match=r"nothing is left for training \(rows: 4\)"):
        load_jsonl(path, validation=0.4, test=0.4)
    assert len(load_jsonl(path, validation=0.3, test=0.3).examples("train")) == 2


def test_a_file_of_composed_calls_is_told_where_it_belongs(tmp_path):
    path = tmp_path / "function_calling_test.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=r"is a JSON file.*JSON lines.*`tokmem tools`"):
        load_jsonl(path)


def test_the_rows_of_one_split_are_read_alone(path):
    rows = [row("a"), row("b", split="test"), row("c", split="train")]
    write(path, *rows[1:])
    assert [one.query for one in read_jsonl(path, "train")] == [rows[2]["query"]]
    assert len(read_jsonl(path)) == 2
    write(path, rows[0])
    assert len(read_jsonl(path, "test")) == 1, "no row has a split"
    write(path, *rows)
    with pytest.raises(DataError, match="a `split` on all lines or on none"):
        read_jsonl(path, "train")
