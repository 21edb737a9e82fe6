from __future__ import annotations

from random import Random

import pytest

from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.everyday import EVERYDAY
from tokmem.mini.family import Family
from tokmem.mini.procedures import DEMO, SETTINGS

every_family = pytest.mark.parametrize("family", EVERYDAY, ids=lambda family: family.name)


def test_there_are_ten_and_no_name_stands_twice() -> None:
    names = [family.name for family in (*EVERYDAY, *DEMO, *SETTINGS)]
    assert len(EVERYDAY) == 10
    assert len(set(names)) == len(names)
    assert {family.split for family in EVERYDAY} == {"everyday"}


@every_family
def test_a_query_has_one_response_and_both_are_short(family: Family) -> None:
    answers: dict[str, str] = {}
    rng = Random(0)
    for _ in range(400):
        query, response = family.sample(rng)
        assert answers.setdefault(query, response) == response
        assert query == query.strip()
        assert response == response.strip()
        assert "{" not in query
        assert len(query) < 160
        assert len(response) < 100
    assert len(family.wordings) >= 4


def test_what_is_extracted_stands_in_the_query() -> None:
    extracted = {"message_sender": " ", "meeting_time": ", ", "journey_route": " -> "}
    rng = Random(1)
    for family in EVERYDAY:
        for _ in range(100 if family.name in extracted else 0):
            query, response = family.sample(rng)
            assert all(part in query for part in response.split(extracted[family.name]))


def test_there_are_inputs_enough() -> None:
    corpus = procedures_corpus(EVERYDAY, 100, 10, 30)
    assert {len(examples) for examples in corpus.train.values()} == {100}
    assert {len(examples) for examples in corpus.test.values()} == {30}
