"""Passages: reading, cutting, dealing to runs, and marking."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tokmem.data.passages import choose_runs, cut, mark, read_passages
from tokmem.errors import ConfigError, DataError

BUNDLED = Path(__file__).parents[2] / "src/tokmem/mini/passages.csv"


def write(path: Path, texts: Iterable[str], column: str = "text") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", column], *([str(i), t] for i, t in enumerate(texts))])
    return path


def characters(text: str) -> list[int]:
    return [ord(c) for c in text]


def test_csv_and_plain_text(tmp_path):
    texts = ('one "quoted",\nof two lines', "two")
    assert read_passages(write(tmp_path / "a.csv", texts)).texts == texts
    assert read_passages(write(tmp_path / "b.csv", texts, "body"), "body").texts == texts
    (tmp_path / "c.txt").write_text("a whole\n\nfile")
    assert read_passages(tmp_path / "c.txt").texts == ("a whole\n\nfile",)


def test_long_chunks_are_read(tmp_path):
    assert len(read_passages(write(tmp_path / "a.csv", ["x" * 200_000])).texts[0]) == 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,texts\n1,a\n", r"no column 'text' \(close: texts\)"),
        (b"", "is empty"),
        (b"text\n", "holds no passages"),
        (b'text\na\n  \n""\nb\n', "passage 2 is empty"),
        (b"\xff\xfe", "in UTF-16, not in UTF-8"),
        (b"text\n\xe9\n", "byte 5 is not UTF-8"),
        (b"id,text\n1,a\n2,Hello, world\n", "line 3: more cells than the header's.*in quotes"),
        (b'id,text\n1,"open\n2,lost\n', "unexpected end of data.*mend the file"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv.*{message}"):
        read_passages(tmp_path / "a.csv")


def test_empty_and_missing_texts(tmp_path):
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"a\.txt is empty"):
        read_passages(tmp_path / "a.txt")
    with pytest.raises(DataError, match="No such file"):
        read_passages(tmp_path / "b.txt")


def test_no_sequence_crosses_a_passage():
    cuts = cut(["abcdefgh", "ijklm"], characters, 3)
    assert ["".join(map(chr, ids)) for ids in cuts] == ["abc", "def", "ijk"]
    with pytest.raises(DataError, match=r"passage 2 \('xy'\) has 2 tokens; wanted: at least the 3"):
        cut(["abc", "xy"], characters, 3)
    with pytest.raises(ConfigError, match="sequences of 0 tokens"):
        cut(["abc"], characters, 0)


def test_runs_share_no_sequence_and_stand_in_a_row():
    sequences = [(i,) for i in range(23)]
    runs = choose_runs(sequences, 5, 4, seed=3)
    assert runs == choose_runs(sequences, 5, 4, seed=3) != choose_runs(sequences, 5, 4, seed=4)
    flat = [ids for run in runs for ids in run]
    assert len(set(flat)) == 20
    assert all(run[i + 1][0] == run[i][0] + 1 for run in runs for i in range(3))
    with pytest.raises(DataError, match="23 sequences; wanted: 6 runs of 4"):
        choose_runs(sequences, 6, 4)


def test_markers_are_distinct_and_of_the_given_length():
    sequences = [(i, i + 1) for i in range(200)]
    for kind, pattern in (
        ("word", "([^aeiou ][aeiou]){3}( ([^aeiou ][aeiou]){3}){1}"),
        ("hash", "[0-9a-f]{16}"),
    ):
        marked = mark(sequences, kind, 2)
        assert [one.ids for one in marked] == sequences
        assert len({one.marker for one in marked}) == 200
        assert all(re.fullmatch(pattern, one.marker) for one in marked)
    words, others = ([m.marker for m in mark(sequences, run=run)] for run in (0, 1))
    assert words != others
    assert words == [m.marker for m in mark(sequences)]
    by_content = {m.ids: m.marker for m in mark(sequences, "hash")}
    assert all(by_content[m.ids] == m.marker for m in mark(sequences[::-1], "hash", seed=9))


def test_markers_that_cannot_be_given_are_refused():
    with pytest.raises(DataError, match="two sequences with the same hash"):
        mark([(1, 2), (1, 2)], "hash")
    assert len({m.marker for m in mark([(1, 2), (1, 2)])}) == 2
    for kind, length in (("words", 1), ("hash", 9), ("word", 0)):
        with pytest.raises(ConfigError, match="marker"):
            mark([(1,)], kind, length)


def test_bundled_passages_name_their_sources():
    passages = read_passages(BUNDLED)
    sources = read_passages(BUNDLED, "source").texts
    assert len(passages.texts) == len(sources) >= 10
    assert all(int(re.search(r"\((\d{4})\)", source)[1]) < 1900 for source in sources)


@pytest.mark.realdata
def test_the_backbone_has_never_read_the_bundled_passages(real_data):
    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[a-z']+", text.lower())
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    ours = set().union(*map(grams, read_passages(BUNDLED).texts))
    with gzip.open(real_data / "pretrain_text.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            assert not ours & grams(f"{row['definition']} {row['input']} {row['output']}")


@pytest.mark.realdata
def test_a_file_of_chunks(real_data):
    passages = read_passages(real_data / "passages/plays_1k_chunks.csv")
    assert len(passages.texts) == 273
    cuts = cut(passages.texts, characters, 128)
    runs = choose_runs(cuts, 5, 32)
    assert {len(run) for run in runs} == {32}
    assert bytes(runs[0][0]).decode() in "".join(passages.texts)
