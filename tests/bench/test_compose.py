"""The measurement of composition tokens: its pairs, texts and marks, and a run on the bundled backbone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bench.compose import FINDINGS, FORMS, PAIRS, Asked, Texts, asked_of, kind_of, lessons, main


def test_unseen_pairs_have_procedures_that_other_pairs_teach() -> None:
    kinds = {pair: kind_of(*pair) for pair in PAIRS}
    assert Counter(kinds.values()) == {"seen": 15, "new pair": 10, "new procedure": 11}
    seen = [pair for pair, kind in kinds.items() if kind == "seen"]
    for finding, form in (pair for pair, kind in kinds.items() if kind == "new pair"):
        assert finding in {first for first, _ in seen}
        assert form in {second for _, second in seen}
    for finding, form in (pair for pair, kind in kinds.items() if kind == "new procedure"):
        assert finding not in {first for first, _ in seen} or form not in {second for _, second in seen}


def test_no_text_has_two_uses() -> None:
    texts = Texts(0)
    for finding in FINDINGS:
        drawn = [
            text for use in ("learn", "forms", "pairs", "test") for text, _ in texts.draw(finding, use, 20)
        ]
        assert len(set(drawn)) == len(drawn) == 80
    assert texts.draw("text_language", "test", 5) == Texts(0).draw("text_language", "test", 5)
    assert texts.draw("text_language", "test", 5) != Texts(1).draw("text_language", "test", 5)


def test_every_procedure_has_examples_of_its_own() -> None:
    found = lessons(Texts(0), 12)
    assert {*found} == {*FINDINGS, *FORMS}
    assert all(len(own) == 12 for own in found.values())
    assert all(response == FORMS["bold"].write(text) for text, response in found["bold"])


@pytest.mark.parametrize("form", FORMS)
def test_a_right_answer_has_all_marks_and_no_other_form(form: str) -> None:
    one = Asked("text", "message_sender", form, "Jonas Bell")
    assert one.marks(f" {one.response}\n") == {"exact": True, "form": True, "found": True}
    others = {other: Asked("text", "message_sender", other, "Jonas Bell").response for other in FORMS}
    for other, response in others.items():
        assert one.marks(response) == {"exact": other == form, "form": other == form, "found": True}
    assert one.marks("Anna") == {"exact": False, "form": False, "found": False}


def test_there_are_as_many_queries_as_asked_for() -> None:
    asked = asked_of(Texts(0), "test", 3)
    assert Counter(one.pair for one in asked) == dict.fromkeys(PAIRS, 3)


def test_a_run_writes_a_row_for_each_way_and_kind(tmp_path: Path) -> None:
    out = tmp_path / "compose.json"
    small = ["--examples", "4", "--epochs", "1", "--pair-examples", "1", "--pair-epochs", "1", "--test", "1"]
    main(["--out", str(out), "--backbone", "mini", "--dtype", "float32", "--seeds", "0", *small])
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert len(rows) == 4 * 3
    assert {row["queries"] for row in rows} == {15, 10, 11}
    assert all(0 <= row[name] <= 100 for row in rows for name in ("exact", "form", "found"))
