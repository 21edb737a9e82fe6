"""The held-out procedures: correct, seeded, and unchanging."""

from __future__ import annotations

from random import Random

import pytest

from tokmem.errors import ConfigError
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.family import Family
from tokmem.mini.procedures import DEMO, SETTINGS, is_held_out_input


def test_there_are_six_families_for_settings_and_ten_for_results() -> None:
    assert len(SETTINGS) == 6
    assert {f.split for f in SETTINGS} == {"settings"}
    assert len(DEMO) == 10
    assert {f.split for f in DEMO} == {"demo"}


def test_an_eighth_of_all_inputs_is_held_out() -> None:
    assert 0.09 < sum(is_held_out_input(str(i)) for i in range(4000)) / 4000 < 0.16


@pytest.mark.parametrize(
    ("name", "query", "response"),
    [
        ("words_swap_ends_hyphens", "a b c d", "d-b-c-a"),
        ("numbers_drop_first_plus", "4 9 2 7", "9+2+7"),
        ("time_minutes_past", "15:40", "40 past 15"),
        ("date_slashes_to_month_and_year", "14/03/2021", "March 2021"),
    ],
)
def test_held_out_families_do_what_they_say(name: str, query: str, response: str) -> None:
    """Checked on the sampler's own draws, by an independent rule."""
    months = "January February March April May June July August September October November December".split()
    rules = {
        "words_swap_ends_hyphens": lambda q: "-".join([(w := q.split())[-1], *w[1:-1], w[0]]),
        "numbers_drop_first_plus": lambda q: "+".join(q.split()[1:]),
        "time_minutes_past": lambda q: "{1} past {0}".format(*(int(p) for p in q.split(":"))),
        "date_slashes_to_month_and_year": lambda q: f"{months[int(q.split('/')[1]) - 1]} {q.split('/')[2]}",
    }
    assert rules[name](query) == response
    family = next(f for f in DEMO if f.name == name)
    rng = Random(5)
    for _ in range(50):
        drawn, answer = family.sample(rng)
        assert rules[name](drawn) == answer


def test_corpus_is_seeded_disjoint_and_held_out() -> None:
    corpus = procedures_corpus(DEMO[:3], 12, 3, 5)
    again = procedures_corpus(DEMO[:3], 12, 3, 5)
    assert corpus == again
    assert procedures_corpus(DEMO[:3], 12, 3, 5, seed=1).checksum != corpus.checksum
    queries = {s: {e.query for e in corpus.examples(s)} for s in ("train", "validation", "test")}
    assert [len(queries[s]) for s in ("train", "validation", "test")] == [36, 9, 15]
    assert not queries["train"] & (queries["validation"] | queries["test"])
    assert not queries["validation"] & queries["test"]
    assert all(map(is_held_out_input, queries["test"] | queries["validation"]))
    assert not any(map(is_held_out_input, queries["train"]))


def test_the_test_set_does_not_depend_on_other_sizes() -> None:
    assert procedures_corpus(DEMO[:2], 5, 1, 6).test == procedures_corpus(DEMO[:2], 30, 4, 6).test


def test_too_few_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="fewer than"):
        procedures_corpus([Family("digit", ("Repeat it.",), _digit, "demo")], 100, 1, 1)


def _digit(rng: Random) -> tuple[str, str]:
    digit = str(rng.randrange(10))
    return digit, digit
