from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from tests.data.calls.tool_rows import row, rows, tools
from tokmem.data.calls.compose import ComposeSpec, compose
from tokmem.data.calls.even_sampling import EvenSampler
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.xlam import XlamRow, rank_tools, read_xlam
from tokmem.data.corpus import SPLITS
from tokmem.errors import ConfigError, DataError
from tokmem.records import Call

NAMES = "alpha beta gamma delta epsilon zeta"
SPEC = ComposeSpec(train_size=120, val_size=30, test_size=60, same_tool_share=0.0)
ROWS = rows(NAMES, 40)


def made(spec=SPEC, data=ROWS, names=NAMES):
    return compose(data, tools(names), spec)


def calls_of(example):
    return [(turn.procedure, json.loads(turn.response)) for turn in example.turns]


def asked(example):
    """The calls that a query of these rows asks for, read from its words."""
    return [
        (name, {"n": int(number)})
        for name, numbers in re.findall(r"\bdo (\w+) ([\d, ]*\d)", example.query, re.IGNORECASE)
        for number in numbers.split(",")
    ]


def sources(examples):
    return {part for example in examples for part in example.id.split("+")}


def by_tools(examples):
    return Counter(len({turn.procedure for turn in example.turns}) for example in examples)


def by_calls(examples):
    return Counter(len(example.turns) for example in examples)


def test_calls_are_those_that_the_query_asks_for_in_its_order():
    composed = made(replace(SPEC, same_tool_share=0.5), ROWS + rows(NAMES, 10, calls=2))
    for split in SPLITS:
        for example in composed.examples(split):
            assert calls_of(example) == asked(example), example.query
            assert example.query.startswith("Do ")
            assert example.query.endswith(".")
    assert composed.procedures == tools(NAMES)


def test_splits_are_built_from_queries_of_their_own():
    composed = made()
    used = {split: sources(composed.examples(split)) for split in SPLITS}
    assert not used["train"] & used["test"]
    assert not used["train"] & used["validation"]
    assert not used["validation"] & used["test"]
    pieces = {
        split: {one for e in composed.examples(split) for one in map(str, calls_of(e))} for split in SPLITS
    }
    assert not pieces["train"] & (pieces["test"] | pieces["validation"])
    assert not pieces["test"] & pieces["validation"]


def test_a_query_that_stands_twice_is_in_one_split_only():
    again = [
        XlamRow(f"again-{one.id}", f" {one.query.upper()}. ", one.calls, one.tools)
        for one in rows("alpha", 40)
    ]
    composed = made(data=ROWS + again)
    assert composed == made()
    stolen = [XlamRow(f"b-{one.id}", one.query, (Call("beta", {}),), one.tools) for one in rows("alpha", 40)]
    assert made(data=ROWS + stolen) == made()


def test_no_query_is_made_twice_and_ids_are_unique():
    composed = made(replace(SPEC, train_size=600))
    examples = [example for split in SPLITS for example in composed.examples(split)]
    assert len({example.id for example in examples}) == len(examples)
    assert len({frozenset(example.id.split("+")) for example in examples}) == len(examples)
    assert len({example.query for example in examples}) == len(examples)


def test_rows_stand_alone_in_at_most_half_of_training_and_never_in_test():
    composed = made()
    assert by_tools(composed.train) == {1: 60, 2: 20, 3: 20, 4: 20}
    assert by_tools(composed.validation) == {1: 15, 2: 5, 3: 5, 4: 5}
    assert by_tools(composed.test) == {2: 20, 3: 20, 4: 20}
    assert by_tools(made(replace(SPEC, train_size=1000)).train)[1] == 6 * 32, "all that there are"


@pytest.mark.parametrize(
    ("ratios", "most", "expected"),
    [
        ((0.5, 0.5), 4, {2: 30, 3: 30}),
        ((0.2, 0.8), 4, {2: 12, 3: 48}),
        ((1, 1, 2), 4, {2: 15, 3: 15, 4: 30}),
        ((0.5, 0.25, 0.25), 3, {2: 40, 3: 20}),
        ((0, 1), 4, {3: 60}),
        ((), 2, {2: 60}),
        ((), 3, {2: 30, 3: 30}),
        ((), 9, {2: 12, 3: 12, 4: 12, 5: 12, 6: 12}),
    ],
)
def test_ratios_are_shares_of_numbers_of_tools(ratios, most, expected):
    composed = made(replace(SPEC, test_multi_tool_ratios=ratios, test_max_calls=most))
    assert by_tools(composed.test) == expected
    turned = made(replace(SPEC, train_multi_tool_ratios=ratios, train_max_calls=most, train_size=120))
    assert Counter(dict(by_tools(turned.train)) | {1: 0}) == Counter(expected)


def test_ratios_of_more_tools_than_there_are_are_refused():
    names = "alpha beta gamma"
    with pytest.raises(DataError, match="test: no ratio above 0 for up to 3 tools"):
        made(replace(SPEC, test_multi_tool_ratios=(0, 0, 1)), rows(names, 40), names)


def test_one_call_at_most(caplog):
    composed = made(replace(SPEC, train_max_calls=1, test_max_calls=1, train_size=500, test_size=12))
    assert by_calls(composed.test) == {1: 12}
    assert {turn.procedure for e in composed.test for turn in e.turns} == set(NAMES.split())
    assert by_calls(composed.train) == {1: 6 * 32}
    assert "train: 192 queries of 500" in caplog.text


def test_one_tool_of_several_is_called_again():
    spec = replace(SPEC, same_tool_share=0.25, test_multi_tool_ratios=(0.5, 0.5))
    for data in (ROWS, ROWS + rows(NAMES, 10, calls=2)):
        test = made(spec, data).test
        again = [e for e in test if len(e.turns) > len({turn.procedure for turn in e.turns})]
        assert len(again) == 15, "a quarter, whether rows call a tool twice or have to be put together"
        assert by_tools(test) == {2: 30, 3: 30}
        assert by_calls(test) == {2: 22, 3: 31, 4: 7}
    none = made(replace(SPEC, same_tool_share=1.0, test_multi_tool_ratios=(0, 0, 1))).test
    assert by_calls(none) == {4: 60}, "four calls leave no room for a fifth"


def test_rows_with_several_calls_keep_to_the_most():
    data = ROWS + rows(NAMES, 10, calls=3)
    composed = made(replace(SPEC, train_size=600, train_max_calls=3, same_tool_share=1.0), data)
    counts = by_calls(composed.train)
    assert max(counts) == 3
    alone = [e for e in composed.train if len({turn.procedure for turn in e.turns}) == 1]
    assert by_calls(alone) == {1: 6 * 32, 3: 6 * 8}
    two_calls_left = [e for e in composed.train if by_tools([e]) == {2: 1} and len(e.turns) == 3]
    assert two_calls_left, "rows with three calls do not fit beside another tool, so two rows are joined"


def test_tools_and_rows_are_used_evenly():
    test = made(replace(SPEC, test_size=24, test_multi_tool_ratios=(1,))).test
    counts = Counter(turn.procedure for example in test for turn in example.turns)
    assert max(counts.values()) - min(counts.values()) <= 2
    parts = Counter(part for example in test for part in example.id.split("+"))
    assert max(parts.values()) - min(parts.values()) <= 2


def test_seeded_and_no_size_moves_the_test_queries():
    composed = made()
    assert made() == composed
    assert made(replace(SPEC, seed=1)).test != composed.test
    for other in ({"train_size": 7}, {"val_size": 0}, {"train_max_calls": 2}, {"same_tool_share": 0.0}):
        assert made(replace(SPEC, **other)).test == composed.test
    assert sources(made(replace(SPEC, seed=1)).test) != sources(composed.test)


def test_samples_per_tool_caps_the_rows():
    composed = made(replace(SPEC, samples_per_tool=10, train_size=60, val_size=6, test_size=10))
    used = Counter(part.split("-")[0] for split in SPLITS for part in sources(composed.examples(split)))
    assert set(used.values()) <= {9, 10}
    assert max(used.values()) == 10
    assert made(replace(SPEC, samples_per_tool=0)) == made(replace(SPEC, samples_per_tool=10**6)), (
        "all of them"
    )


def test_connectors_stand_before_all_but_the_first_query():
    composed = made(replace(SPEC, connectors=("And so ", "Besides,")))
    for example in composed.test:
        parts = re.split(r"\. (?:And so|Besides,) do ", example.query)
        assert len(parts) == len(example.turns), example.query
    both = [e.query for e in composed.test if len(e.turns) == 3]
    assert all("And so" in query and "Besides," in query for query in both), "each in its turn"


def test_too_few_rows():
    with pytest.raises(DataError, match="'eta' has 0 rows with one call; wanted: at least 3"):
        made(names=f"{NAMES} eta")
    with pytest.raises(DataError, match="'alpha' has 2 rows"):
        made(data=ROWS[38:])
    twice = [row("eta", number, calls=2) for number in range(9)]
    with pytest.raises(DataError, match="'eta' has 0 rows with one call"):
        made(data=ROWS + twice, names=f"{NAMES} eta")
    with pytest.raises(DataError, match="'alpha' stands twice"):
        made(names="alpha beta alpha")
    with pytest.raises(DataError, match="no further one for 2 tools"):
        made(replace(SPEC, test_size=50, test_max_calls=2, samples_per_tool=10), names="alpha beta")


def test_one_tool_alone():
    composed = made(replace(SPEC, train_size=20, val_size=4, test_size=4), names="alpha")
    assert by_calls(composed.train) == {1: 20}
    assert by_calls(composed.test) == {1: 4}


@pytest.mark.parametrize(
    "change",
    [
        {"train_size": -1},
        {"test_max_calls": 0},
        {"samples_per_tool": -1},
        {"same_tool_share": 1.5},
        {"connectors": ()},
        {"connectors": (" ",)},
        {"train_multi_tool_ratios": (1, -0.5)},
        {"test_multi_tool_ratios": (0, 0)},
        {"test_multi_tool_ratios": (0, 1), "test_max_calls": 2},
    ],
)
def test_bad_specs_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(SPEC, **change)


def test_an_even_sampler_draws_no_item_again_before_the_others():
    sampler, rng, counts = EvenSampler(list("abcdefg"), Random(0)), Random(1), Counter()
    for _ in range(200):
        drawn = sampler.draw(rng.randint(1, 7))
        assert len(set(drawn)) == len(drawn)
        counts.update(drawn)
        assert max(counts.values()) - min(counts[item] for item in "abcdefg") <= 2


@pytest.mark.realdata
def test_real_rows_are_composed(real_data):
    data = read_xlam(real_data / "toolcalls" / "calls_xlam_format.json")
    ranked = rank_tools(data.rows)
    assert len(ranked) == 100
    spec = ComposeSpec(train_size=1500, val_size=150, test_size=150, samples_per_tool=0)
    known = {one.id: one for one in data.rows}
    for tools_range in ("1-50", "51-100"):
        chosen = ToolRange.parse(tools_range).select(ranked)
        composed = compose(data.rows, chosen, spec)
        assert [len(composed.examples(split)) for split in SPLITS] == [1500, 150, 150]
        assert min(by_calls(composed.test)[number] for number in (2, 3, 4)) >= 40
        assert {turn.procedure for e in composed.test for turn in e.turns} == {one.name for one in chosen}
        used = [sources(composed.examples(split)) for split in SPLITS]
        assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]
        for example in composed.test:
            parts = [known[part] for part in example.id.split("+")]
            assert calls_of(example) == [(c.name, c.arguments) for part in parts for c in part.calls]
            for part in parts:
                assert part.query.lower().rstrip(" .,;:-") in example.query.lower()
