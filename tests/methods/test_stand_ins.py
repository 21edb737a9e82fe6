"""Closed-form addresses whose instructions are also read with stand-in queries."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.test_closed import NAMES, QUERIES, assert_same, examples, learn, memory
from tests.tiny import tiny_backbone
from tokmem.data.stand_ins import STAND_INS
from tokmem.errors import BankError
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
    level = float(best_ordinary(made.lm, own).sum())
    assert found.levels["date"] == pytest.approx(level, rel=1e-4)


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
