"""The generators: right, seeded, and with a clean line between what trains and what evaluates."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from tokmem.errors import ConfigError
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.families.family import Family
from tokmem.mini.procedures import DEMO, FAMILIES, SETTINGS, TRAINED, is_held_out_input, sample_input

TOOLS = Path(__file__).parents[2] / "tools"


def test_there_are_enough_families_and_each_is_named_once() -> None:
    assert len(TRAINED) >= 80
    assert len(SETTINGS) >= 6
    assert len(DEMO) == 10
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


def test_held_out_inputs_are_an_eighth_and_never_trained_on() -> None:
    assert 0.09 < sum(is_held_out_input(str(i)) for i in range(4000)) / 4000 < 0.16
    rng = Random(0)
    for family in TRAINED[:40]:
        assert not is_held_out_input(sample_input(family, rng, held_out=False)[0])
        assert is_held_out_input(sample_input(family, rng, held_out=True)[0])


@pytest.mark.parametrize("mix", ["procedures", "tools"])
def test_backbone_documents_hold_nothing_that_is_evaluated(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    sys.modules.pop("pretrain_corpus", None)
    import pretrain_corpus

    from tokmem.mini.tools import HELD_OUT

    stream = pretrain_corpus.documents(pretrain_corpus.MIXES[mix], Random(0))
    texts = [e.user + "\n" + e.response for _ in range(3000) for e in next(stream)]
    wordings = [w for f in (*SETTINGS, *DEMO) for w in f.wordings]
    for text in texts:
        assert "<|" not in text
        assert not any(wording in text for wording in wordings)
        assert not any(tool.name in text for tool in HELD_OUT)


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
        procedures_corpus([next(f for f in TRAINED if f.name == "time_spoken_quarter")], 100, 1, 1)
