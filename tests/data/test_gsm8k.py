"""Word problems as published: reading, checking, and parts of them."""

from __future__ import annotations

import json

import pytest

from tokmem.data.gsm8k import PROCEDURE, load_gsm8k, training_part
from tokmem.errors import ConfigError, DataError
from tokmem.eval.reasoning import final_answer
from tokmem.mini.corpus import arithmetic_corpus


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(count, start=0):
    return [
        {"question": f"What is {i} + 1?", "answer": f"It is <<{i}+1={i + 1}>>{i + 1}.\n#### {i + 1}"}
        for i in range(start, start + count)
    ]


def test_files_become_a_corpus_of_one_procedure(tmp_path):
    train, test = write(tmp_path / "train.jsonl", rows(9)), write(tmp_path / "test.jsonl", rows(5, 100))
    corpus = load_gsm8k(train, test, test_size=3)
    assert corpus.names == (PROCEDURE.name,)
    assert [len(corpus.examples(s)) for s in ("train", "validation", "test")] == [9, 0, 3]
    assert {e.query: e.accepted[0] for e in corpus.examples("train")} == {
        row["question"]: row["answer"] for row in rows(9)
    }
    write(train, rows(9)[::-1])
    again = load_gsm8k(train, test)
    assert [e.query for e in again.examples("train")] == [e.query for e in corpus.examples("train")]
    assert again.examples("test")[:3] == corpus.examples("test")
    assert again.checksum != corpus.checksum
    with pytest.raises(ConfigError, match="test_size 6 of 5 problems"):
        load_gsm8k(train, test, test_size=6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "q", "answer": "It is 7."},
            r"`answer` ends in 'It is 7\.'; wanted: a line `#### number`",
        ),
        ({"question": "q", "answer": "It is 7. #### 7"}, "`answer` ends in"),
        ({"question": "q", "answer": "#### seven"}, "`answer` ends in"),
        ({"question": " ", "answer": "#### 7"}, "empty `question`"),
        ({"question": "q"}, "no `answer`"),
        ({"question": "q", "answer": "#### 7", "anwser": "x"}, "unknown field `anwser`"),
    ],
)
def test_lines_that_cannot_be_used_are_named(tmp_path, row, message):
    good = write(tmp_path / "good.jsonl", rows(1))
    bad = write(tmp_path / "bad.jsonl", [*rows(2), row])
    with pytest.raises(DataError, match=rf"bad\.jsonl, line 3: {message}"):
        load_gsm8k(bad, good)
    with pytest.raises(DataError, match=r"none\.jsonl is empty"):
        load_gsm8k(good, write(tmp_path / "none.jsonl", []))


def test_parts_are_beginnings_of_larger_ones():
    examples = arithmetic_corpus(50, 1).examples("train")
    assert training_part(examples, 0.2) == examples[:10]
    assert training_part(examples, 1.0) == examples
    assert training_part(examples, 20) == examples[:20]
    for size in (51, 2.5):
        with pytest.raises(ConfigError, match="of 50 examples"):
            training_part(examples, size)


def test_generated_problems_are_distinct_and_seeded():
    corpus, again, other = (arithmetic_corpus(300, 100, seed) for seed in (0, 0, 1))
    assert corpus == again
    assert corpus.checksum != other.checksum
    assert len({e.query for split in ("train", "test") for e in corpus.examples(split)}) == 400
    assert all(final_answer(e.accepted[0]) is not None for e in corpus.examples("test"))


@pytest.mark.realdata
def test_the_published_files_load_whole(real_data):
    corpus = load_gsm8k(real_data / "gsm8k/train.jsonl", real_data / "gsm8k/test.jsonl")
    assert [len(corpus.examples(s)) for s in ("train", "test")] == [7473, 1319]
    assert len(training_part(corpus.examples("train"), 0.2)) == 1495
