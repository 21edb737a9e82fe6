from __future__ import annotations

from random import Random

import pytest

from tests.tiny import tiny_bank
from tests.train.shared import shared_examples
from tokmem.model.prefix_tree import (
    RECALL,
    TRAINING,
    Ids,
    SharingRule,
    StemPlan,
    pack,
    plan_stems,
    shared_ends,
)


def nested(seed: int) -> list[Ids]:
    """Sorted prompts that go on from one another, share beginnings of all lengths, or share nothing."""
    rng, pool = Random(seed), [()]
    for _ in range(rng.randint(1, 50)):
        longest = rng.choice([1, 9, 40])
        pool.append(rng.choice(pool) + tuple(rng.choices(range(3), k=rng.randint(1, longest))))
    return sorted(set(pool[1:]))


@pytest.mark.parametrize("rule", [TRAINING, RECALL], ids=["training", "recall"])
@pytest.mark.parametrize("seed", range(40))
def test_a_plan_of_shared_beginnings_holds_what_it_promises(rule: SharingRule, seed: int) -> None:
    prompts = nested(seed)
    found = dict(zip(prompts, shared_ends(prompts, rule), strict=True))
    paths: dict[Ids, set[Ids]] = {}  # of each beginning the ends on the way to it
    for prompt, ends in found.items():
        assert list(ends) == sorted(set(ends))
        assert not ends or 0 < ends[0] <= ends[-1] < len(prompt)
        for number, end in enumerate(ends, 1):
            assert sum(prompt[:end] == other[:end] and end in found[other] for other in prompts) > 1
            paths.setdefault(prompt[:end], set()).add(ends[:number])
    assert all(len(ways) == 1 for ways in paths.values())
    read = sum(len(begun) - (0, 0, *next(iter(ways)))[-2] for begun, ways in paths.items())
    read += sum(len(prompt) - (0, *ends)[-1] for prompt, ends in found.items())
    assert sum(map(len, prompts)) - read >= rule.least_saved * len(paths)


def test_repeats_share_all_but_their_last_token_in_recall() -> None:
    prompt = tuple(range(80))
    assert shared_ends([prompt] * 3, RECALL) == [(79,)] * 3
    assert shared_ends([prompt], RECALL) == [()]


def test_the_rules_differ_where_few_tokens_follow_a_branch() -> None:
    """Ten prompts behind each of two branches: to recall two readers of the root, to training twenty."""
    root = tuple(range(40))
    prompts = [(*root, branch, i) for branch in (100, 101) for i in range(10)]
    assert {*shared_ends(prompts, TRAINING)} == {(40,)}
    assert {*shared_ends(prompts, RECALL)} == {(41,)}


def whole(plan: StemPlan, prompt: Ids) -> Ids:
    """All tokens of a prompt's stems."""
    place, parts = plan.places.get(prompt), []
    while place is not None:
        stem = plan.packs[place.pack][place.index]
        parts.append(stem.ids)
        assert stem.parent is None or stem.parent.pack < place.pack
        place = stem.parent
    return tuple(i for part in reversed(parts) for i in part)


def read(plan: StemPlan, prompts: list[Ids]) -> int:
    """Tokens that run through the backbone."""
    stems = sum(len(stem.ids) for pack in plan.packs for stem in pack)
    return stems + sum(len(ids) - len(whole(plan, ids)) for ids in set(prompts))


def test_an_instruction_is_a_stem_on_top_of_the_templates() -> None:
    prompts = [e.ids[: e.prefix] for e in shared_examples(tiny_bank(True, "auto"), 30)]
    plan = plan_stems(prompts, 1000)
    assert [len(pack) for pack in plan.packs] == [1, 3]
    assert len(plan.packs[0][0].ids) == 21
    for ids in prompts:
        assert ids[: len(whole(plan, ids))] == whole(plan, ids)
        assert 33 <= len(whole(plan, ids)) < len(ids) or len(ids) < 33
    assert read(plan, prompts) < sum(map(len, prompts)) / 3


@pytest.mark.parametrize("alphabet", [2, 3, 40])
def test_no_stem_costs_more_than_it_saves(alphabet: int) -> None:
    rng = Random(alphabet)
    prompts = [tuple(rng.randrange(alphabet) for _ in range(rng.randint(1, 12))) for _ in range(200)]
    plan = plan_stems(prompts, 30)
    for ids in set(prompts):
        stem = whole(plan, ids)
        assert len(stem) < len(ids)
        assert ids[: plan.shared(ids)] == stem
    stems = sum(len(pack) for pack in plan.packs)
    assert read(plan, prompts) <= sum(map(len, set(prompts))) - TRAINING.least_saved * stems
    if alphabet == 2:
        assert stems > 1


def test_a_plan_depends_on_the_set_of_prompts_alone() -> None:
    prompts = [e.ids[: e.prefix] for e in shared_examples(tiny_bank(True, "auto"), 20)]
    assert plan_stems(prompts, 50) == plan_stems([*reversed(prompts), *prompts], 50)


def test_a_prompt_that_others_go_on_from_keeps_a_token() -> None:
    short = tuple(range(100))
    plan = plan_stems([short, (*short, 5), (*short, 6)], 1000)
    assert [whole(plan, ids) for ids in (short, (*short, 5))] == [short[:-1]] * 2


def test_little_in_common_is_no_stem() -> None:
    assert plan_stems([(1, 2, 3, i) for i in range(5)], 1000) == StemPlan()
    assert plan_stems([], 1000) == StemPlan()


def test_tasks_under_a_short_root_have_no_stem_for_it() -> None:
    tasks = [(1, 2, 3, 4, 5, *range(start, start + 40)) for start in (100, 200)]
    plan = plan_stems([(*task, 300 + i) for task in tasks for i in range(20)], 1000)
    assert [[stem.ids for stem in stems] for stems in plan.packs] == [tasks]


def test_packs_hold_their_tokens_or_one() -> None:
    assert pack([3, 4, 9, 1, 1], 7) == [[0, 1], [2], [3, 4]]
    assert pack([3, 4], 0) == [[0], [1]]
