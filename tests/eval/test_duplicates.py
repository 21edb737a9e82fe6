from __future__ import annotations

from random import Random
from time import perf_counter

import pytest

from tokmem.eval.duplicates import near_duplicates
from tokmem.records import Procedure

TWINS = [
    Procedure("z_first", "Write the month, and the year, of a date."),
    Procedure("other", "Count the vowels of a word and write the number."),
    Procedure("a_twin", "write the MONTH and the year of a date"),
    Procedure("near", "Write the month and the year of this date."),
    Procedure("silent"),
    Procedure("mute", "..."),
]


def test_pairs_are_named_in_order_most_alike_first() -> None:
    assert near_duplicates(TWINS) == [("z_first", "a_twin", 1.0)]
    found = near_duplicates(TWINS, threshold=0.7)
    # seven words each beside the twins' eight distinct ones: 7 shared of 9
    assert [(a, b) for a, b, _ in found] == [("z_first", "a_twin"), ("z_first", "near"), ("a_twin", "near")]
    assert [similarity for _, _, similarity in found] == [1.0, pytest.approx(7 / 9), pytest.approx(7 / 9)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_no_pair_is_missed(threshold: float) -> None:
    """Against every pair compared; the search skips those whose sizes alone rule them out."""
    draw, words = Random(0), [f"w{i}" for i in range(6)]
    procedures = [Procedure(f"p{i}", " ".join(draw.choices(words, k=draw.randint(1, 6)))) for i in range(60)]
    expected = set()
    for i, a in enumerate(procedures):
        for b in procedures[i + 1 :]:
            one, two = set(a.description.split()), set(b.description.split())
            if len(one & two) / len(one | two) >= threshold:
                expected.add((a.name, b.name))
    assert {(a, b) for a, b, _ in near_duplicates(procedures, threshold)} == expected != set()


def test_a_thousand_procedures_are_quick() -> None:
    draw, words = Random(0), [f"w{i}" for i in range(400)]
    procedures = [Procedure(f"p{i}", " ".join(draw.choices(words, k=40))) for i in range(1000)]
    started = perf_counter()
    assert near_duplicates([*procedures, Procedure("twin", procedures[7].description)]) == [("p7", "twin", 1)]
    assert perf_counter() - started < 10
