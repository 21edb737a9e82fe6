from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import WordCounts
from tokmem.errors import ConfigError, DataError, RecallError
from tokmem.methods.retrieval.pool import EMBEDDINGS, EXAMPLES, Hit, Pool
from tokmem.records import Example, Turn

WORDS = "red green blue round square large small hot cold wet dry old new loud soft".split()


def solved(query: str, procedure: str = "a", response: str = "yes") -> Example:
    return Example(query, (Turn(procedure, response),))


def pool(*examples: Example) -> Pool:
    made = Pool(WordCounts(), lambda example: example.query)
    made.add(examples)
    return made


def found(made: Pool, query: str, k: int, procedure: str | None = None) -> list[Hit]:
    (hits,) = made.nearest(made.embed([query]), k, None if procedure is None else [procedure])
    return hits


def queries(hits: list[Hit]) -> list[str]:
    return [hit.example.query for hit in hits]


def cosine(made: Pool, one: str, other: str) -> float:
    left, right = made.encoder([one]), made.encoder([other])
    return float(torch.cosine_similarity(left, right))


def test_the_nearest_are_those_of_a_plain_search() -> None:
    rng = Random(0)
    texts = [" ".join(rng.sample(WORDS, rng.randint(2, 5))) for _ in range(40)]
    made = pool(*(solved(text, rng.choice("abc"), str(i)) for i, text in enumerate(texts)))
    asked = [" ".join(rng.sample(WORDS, 3)) for _ in range(30)]
    for procedures in (None, [rng.choice("abc") for _ in asked]):
        for i, hits in enumerate(made.nearest(made.embed(asked), 5, procedures)):
            allowed = [
                e for e in made.examples if procedures is None or e.turns[0].procedure == procedures[i]
            ]
            plain = sorted((cosine(made, asked[i], e.query) for e in allowed), reverse=True)[:5]
            assert [h.similarity for h in hits] == pytest.approx(plain, abs=1e-6)
            assert [cosine(made, asked[i], h.example.query) for h in hits] == pytest.approx(plain, abs=1e-6)
            assert {h.example for h in hits} <= set(allowed)
            assert len({h.example for h in hits}) == 5


def test_similarity_is_a_cosine_whatever_the_lengths() -> None:
    made = pool(solved("red red red"), solved("red blue"))
    hits = found(made, "red", 2)
    assert [h.similarity for h in hits] == pytest.approx([1, 0.5**0.5], abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_ties_keep_the_order_of_arrival(k: int) -> None:
    same = [solved("red car", name, name) for name in "cab"]
    alike = [solved(f"red {noun}") for noun in ("house", "tree", "door")]
    made = pool(solved("blue"), *same, *alike)
    assert [h.example.turns[0].procedure for h in found(made, "red car", k)][:3] == ["c", "a", "b"][:k]
    assert queries(found(made, "red sky", 6))[:k] == ["red car", "red car", "red car", "red house"][:k]


def test_ties_at_the_cut_keep_the_order_of_arrival() -> None:
    """Six texts tie behind two that are nearer; faiss alone would keep the last of them."""
    tied = [solved(f"red {word}") for word in WORDS[1:7]]
    made = pool(*tied, solved("red"), solved("red red"))
    for k in range(2, 8):
        hits = queries(found(made, "red", k))
        assert hits == ["red", "red red", *(example.query for example in tied[: k - 2])]


def test_a_text_is_embedded_once() -> None:
    made = pool(solved("red", "a"), solved("red", "b"), solved("blue"))
    made.add([solved("blue", "c"), solved("green")])
    assert made.encoder.asked == ["red", "blue", "green"]
    assert [e.turns[0].procedure for e in made.examples] == ["a", "b", "a", "c", "a"]


def test_the_pool_grows_and_takes_no_example_twice() -> None:
    made = pool(solved("red car"))
    assert queries(found(made, "blue car", 5)) == ["red car"]
    made.add([solved("blue car", "b"), solved("red car")])
    assert queries(found(made, "blue car", 5)) == ["blue car", "red car"]
    assert (len(made), made.procedures) == (2, ("a", "b"))


def test_a_small_pool_gives_all_it_has() -> None:
    made = pool(solved("red"), solved("blue", "b"), solved("green", "b"))
    assert len(found(made, "red", 10)) == 3
    assert sorted(queries(found(made, "red", 10, "b"))) == ["blue", "green"]


def test_one_procedure_is_searched_alone_though_texts_are_shared() -> None:
    made = pool(solved("red", "a"), solved("red", "b"), solved("blue", "b"), solved("red", "b", "other"))
    hits = found(made, "red", 5, "b")
    assert [(h.example.query, h.example.turns[0].response) for h in hits] == [
        ("red", "yes"),
        ("red", "other"),
        ("blue", "yes"),
    ]


def test_queries_of_several_procedures_come_back_in_order() -> None:
    made = pool(solved("red", "a"), solved("red", "b"))
    hits = made.nearest(made.embed(["red"] * 3), 1, ["b", "a", "b"])
    assert [h[0].example.turns[0].procedure for h in hits] == ["b", "a", "b"]


def test_save_and_load(tmp_path: Path) -> None:
    made = pool(
        solved("red car", "b"), Example("a “blue” car", (Turn("a", " x\n"),), "do", ("x", "y"), id="7")
    )
    made.save(tmp_path / "pool", {"mode": "query"}, {"note": 1})
    again = Pool(WordCounts(), lambda example: example.query)
    again.load(tmp_path / "pool", {"mode": "query"})
    assert again.encoder.asked == []
    assert (again.examples, again.procedures) == (made.examples, made.procedures)
    for k in (1, 2):
        assert found(again, "one car", k) == found(made, "one car", k)
    for each in (made, again):
        each.add([solved("one car", "c"), solved("red car", "d")])
    assert found(again, "one car", 5) == found(made, "one car", 5)
    assert {file.name for file in (tmp_path / "pool").iterdir()} == {EMBEDDINGS, EXAMPLES}


def test_an_empty_pool_is_saved_and_loaded(tmp_path: Path) -> None:
    pool().save(tmp_path / "pool", {}, {})
    made = pool(solved("red"))
    made.load(tmp_path / "pool", {})
    assert len(made) == 0
    made.add([solved("red")])
    assert queries(found(made, "red", 1)) == ["red"]


def _cut_embeddings(folder: Path) -> None:
    rows = load_file(folder / EMBEDDINGS)["embeddings"]
    save_file({"embeddings": rows[:-1].contiguous()}, folder / EMBEDDINGS)


def _break_embeddings(folder: Path) -> None:
    (folder / EMBEDDINGS).write_bytes(b"x")


def _drop_turns(folder: Path) -> None:
    raw = json.loads((folder / EXAMPLES).read_text())
    del raw["examples"][1]["turns"]
    (folder / EXAMPLES).write_text(json.dumps(raw))


def _other_format(folder: Path) -> None:
    (folder / EXAMPLES).write_text('{"format": 2}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_embeddings, r"shape \(1, 256\); wanted: float32 with a row for each of 2"),
        (_break_embeddings, "cannot be read"),
        (_drop_turns, r"`examples`\[1\]: no `turns`"),
        (_other_format, "has format 2; wanted: at most format 1"),
    ],
)
def test_a_damaged_pool_is_refused_and_changes_nothing(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    pool(solved("red"), solved("blue")).save(tmp_path / "pool", {}, {})
    damage(tmp_path / "pool")
    made = pool(solved("green"))
    with pytest.raises(DataError, match=message):
        made.load(tmp_path / "pool", {})
    assert queries(found(made, "green", 3)) == ["green"]


def test_a_pool_of_other_settings_is_refused(tmp_path: Path) -> None:
    pool(solved("red")).save(tmp_path / "pool", {"mode": "query"}, {})
    made = pool()
    with pytest.raises(ConfigError, match="mode 'query'; wanted: 'both'"):
        made.load(tmp_path / "pool", {"mode": "both"})
    made.encoder.name = "another"
    with pytest.raises(ConfigError, match="encoder 'word-counts'; wanted: 'another'"):
        made.load(tmp_path / "pool", {"mode": "query"})
    with pytest.raises(DataError, match="nowhere"):
        made.load(tmp_path / "nowhere", {})


def test_what_cannot_be_searched_is_refused() -> None:
    made = pool()
    with pytest.raises(RecallError, match="empty pool"):
        found(made, "red", 1)
    made.add([solved("red", "capital")])
    with pytest.raises(RecallError, match=r"'capitol'.*close: capital"):
        found(made, "red", 1, "capitol")
    with pytest.raises(DataError, match="2 turns"):
        made.add([Example("red", (Turn("a", "x"), Turn("b", "y")))])
    assert len(made) == 1


def test_without_faiss_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"tokmem\[rag\]"):
        pool()
