"""Closed-form addresses whose instructions are also read with stand-in queries."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.test_closed import NAMES, QUERIES, assert_same, examples, learn, memory
from tests.tiny import tiny_backbone
from tokmem.data.stand_ins import STAND_INS
from tokmem.errors import BankError, ConfigError
from tokmem.methods.call_states import best_ordinary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.model.prefix import last_states
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def counts(made: TokMem) -> dict[str, int]:
    assert made.bank.statistics is not None
    return made.bank.statistics.counts


@torch.no_grad()
def states(made: TokMem, queries: tuple[str, ...], instruction: str) -> torch.Tensor:
    """The slow path: (n, d) states at the ends of plain prompts."""
    prompts = [made.encoder.prompt(Example(query, instruction=instruction)) for query in queries]
    return torch.cat([last_states(made.lm, [ids]) for ids in prompts])


@pytest.mark.parametrize("count", [1, 5, 16])
def test_the_sums_are_those_of_examples_and_stand_ins(backbone: Backbone, count: int) -> None:
    """Oracle: each prompt read alone; the scatter about the mean of both kinds together."""
    made = learn(memory(backbone, stand_ins=count), "date")
    own = states(made, (*QUERIES, *STAND_INS[:count]), "tell me the date of")
    found = made.bank.statistics
    assert found is not None
    assert found.counts == {"date": len(QUERIES) + count}
    away = own.double() - own.double().mean(0)
    torch.testing.assert_close(found.sums["date"], own.double().sum(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.scatter, away.T @ away, rtol=1e-3, atol=1e-3)
    level = float(best_ordinary(made.lm, own[: len(QUERIES)]).mean())
    assert found.levels["date"] / found.counts["date"] == pytest.approx(level, rel=1e-4), "of examples alone"


def test_none_of_them_calibrates_or_changes_steering(backbone: Backbone) -> None:
    made, plain = learn(memory(backbone, stand_ins=16), *NAMES), learn(memory(backbone), *NAMES)
    for name in NAMES:
        assert torch.equal(made.bank.states[name], plain.bank.states[name])
        assert torch.equal(made.bank.rows(name)[1], plain.bank.rows(name)[1])


def test_every_order_gives_the_same_memory(backbone: Backbone) -> None:
    together = learn(memory(backbone, stand_ins=3), *NAMES)
    for order in list(permutations(NAMES))[::7]:
        made = memory(backbone, stand_ins=3)
        for name in order:
            learn(made, name)
        assert_same(made, together)


def test_two_banks_merge(backbone: Backbone) -> None:
    left, right = (learn(memory(backbone, stand_ins=3), *names) for names in (NAMES[:2], NAMES[2:]))
    left.bank.merge(right.bank)
    assert_same(left, learn(memory(backbone, stand_ins=3), *NAMES))
    with pytest.raises(BankError, match="stand_ins 0; wanted: stand_ins 3"):
        left.bank.merge(learn(memory(backbone), "other").bank)


def test_they_count_once(backbone: Backbone, tmp_path: Path) -> None:
    made = memory(backbone, stand_ins=4)
    made.add("date")
    made.fit(examples("date"))
    made.fit(examples("date", queries=["Peru"]))
    assert counts(made) == {"date": len(QUERIES) + 1 + 4}
    made.save(tmp_path / "bank")
    loaded = TokMem.load(tmp_path / "bank", backbone, settings=made.settings)
    loaded.bank.thaw(["date"])
    loaded.fit(examples("date", queries=["Chile"]))
    assert counts(loaded) == {"date": len(QUERIES) + 2 + 4}
    loaded.remove("date")
    loaded.add("date")
    loaded.fit(examples("date"))
    assert counts(loaded) == {"date": len(QUERIES) + 4}


def test_banks_without_instructions_merge_with_those_of_earlier_versions(backbone: Backbone) -> None:
    """Their policy names no stand-in queries, because they read none."""
    chain = RecallSettings(mode="chain", max_new_tokens=8)
    for options in ({"prompt": "query"}, {"recall": chain}):
        own, earlier = memory(backbone, stand_ins=16, **options), memory(backbone, stand_ins=0, **options)
        assert own.bank.statistics is not None
        assert own.bank.statistics.policy.stand_ins == 0
        learn(own, "date").bank.merge(learn(earlier, "sum").bank)


@pytest.mark.parametrize("options", [{"frozen_prefix": False}, {"packed_rows": False}, {"window": 1}])
def test_every_way_to_read_gives_the_same_sums(backbone: Backbone, options: dict[str, Any]) -> None:
    own, other = memory(backbone, stand_ins=5), memory(backbone, stand_ins=5)
    other.settings = other.given_settings = replace(own.settings, **options)
    first, second = (learn(one, *NAMES).bank.statistics for one in (own, other))
    assert first is not None
    assert second is not None
    for name in NAMES:
        torch.testing.assert_close(first.sums[name], second.sums[name], rtol=1e-4, atol=1e-4)


def test_an_interruption_between_counts_nothing_twice(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, whole = (memory(backbone, stand_ins=4) for _ in range(2))

    def fails(*_: Any) -> None:
        raise KeyboardInterrupt

    for one in (own, whole):
        one.add("date")
    with monkeypatch.context() as patch:
        patch.setattr("tokmem.methods.closed._stand_in_states", fails)
        with pytest.raises(KeyboardInterrupt):
            own.fit(examples("date"))
    own.fit(examples("date"))
    whole.fit(examples("date"))
    assert own.bank.statistics is not None
    assert whole.bank.statistics is not None
    assert own.bank.statistics.inside.count == whole.bank.statistics.inside.count > 0
    assert counts(own) == counts(whole)


@pytest.mark.parametrize("wrong", [True, 1.5, "3", None, -1, 17])
@pytest.mark.parametrize("options", [{}, {"addresses": "trained"}, {"coupled": True, "addresses": None}])
def test_a_number_that_is_none_is_refused(backbone: Backbone, wrong: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"stand_ins .*a whole number from 0 to 16"):
        memory(backbone, stand_ins=wrong, **options)


def test_prompts_without_an_instruction_have_none(backbone: Backbone) -> None:
    alone = learn(memory(backbone, stand_ins=16, prompt="query"), "date")
    assert counts(alone) == {"date": len(QUERIES)}
    made = memory(backbone, stand_ins=16)
    made.add("date")
    made.fit([("France", "a date"), ("Italy", "another")])
    assert counts(made) == {"date": 2}


def test_chains_have_none(backbone: Backbone) -> None:
    chain = Example("both", (Turn("date", "a"), Turn("sum", "b")), "tell me")
    made = memory(backbone, stand_ins=16, recall=RecallSettings(mode="chain", max_new_tokens=8))
    made.learn([Procedure("date"), Procedure("sum")], [chain, chain], [])
    assert counts(made) == {"date": 2, "sum": 2}


def test_a_long_instruction_leaves_room_for_the_beginning_of_a_text(backbone: Backbone) -> None:
    long = Example("France", (Turn("date", "x"),), "tell me the date of " * 8)
    made = memory(backbone, stand_ins=16)
    made.max_length = len(made.encoder.prompt(long)) + 8
    made.learn([Procedure("date")], [long], [])
    assert counts(made) == {"date": 17}
