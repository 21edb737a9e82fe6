"""All families: correct, seeded, and cleanly divided into training and evaluation."""

from __future__ import annotations

from random import Random

import pytest

from pretraining.documents import GENERATED, documents
from pretraining.families import FAMILIES, TRAINED
from tokmem.mini.family import Family
from tokmem.mini.procedures import DEMO, SETTINGS, is_held_out_input, sample_input
from tokmem.mini.tools import HELD_OUT


def test_there_are_enough_families_and_each_is_named_once() -> None:
    assert len(TRAINED) >= 80
    assert {f.name for f in FAMILIES if f.split != "trained"} == {f.name for f in (*SETTINGS, *DEMO)}
    assert len({f.name for f in FAMILIES}) == len(FAMILIES)


def test_every_wording_belongs_to_one_family() -> None:
    wordings = [w for f in FAMILIES for w in f.wordings]
    assert len(set(wordings)) == len(wordings)
    assert min(len(f.wordings) for f in FAMILIES) >= 4


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_samples_are_seeded_unambiguous_and_short(family: Family) -> None:
    first, second = Random(3), Random(3)
    pairs = [family.sample(first) for _ in range(100)]
    assert pairs == [family.sample(second) for _ in range(100)]
    answers: dict[str, str] = {}
    for query, response in pairs:
        assert query.strip() == query != ""
        assert response.strip() == response != ""
        assert len(query) < 120
        assert len(response) < 120
        assert answers.setdefault(query, response) == response


def test_training_families_are_drawn_from_inputs_that_are_not_held_out() -> None:
    rng = Random(0)
    for family in TRAINED[:40]:
        assert not is_held_out_input(sample_input(family, rng, held_out=False)[0])
        assert is_held_out_input(sample_input(family, rng, held_out=True)[0])


def test_backbone_documents_hold_nothing_that_is_evaluated() -> None:
    stream = documents(GENERATED, Random(0))
    texts = [e.user + "\n" + e.response for _ in range(3000) for e in next(stream)]
    wordings = [w for f in (*SETTINGS, *DEMO) for w in f.wordings]
    for text in texts:
        assert "<|" not in text
        assert not any(wording in text for wording in wordings)
        assert not any(tool.name in text for tool in HELD_OUT)
