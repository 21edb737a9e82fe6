"""Kept query states of earlier procedures as negatives for newcomers: exact, isolated, resumable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone, tiny_examples, tiny_lm
from tokmem.methods.tokmem import TokMem
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import read_prefixes
from tokmem.records import Encoded, Example, Procedure, Turn
from tokmem.seeds import stream
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.negatives import draw_evenly, keep_states, turns_of
from tokmem.train.objective import Piece
from tokmem.train.settings import FitSettings
from tokmem.train.step import plain_loss, plain_states

coupled = pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])


def _old_examples(lm: MemoryLM) -> list[Encoded]:
    """One example of each frozen procedure of the tiny bank."""
    old = [n for n in lm.bank.names if n not in lm.bank.fresh_names]
    ids = {lm.bank.slots.ids(n)[0]: n for n in old}
    found = {}
    for example in tiny_examples(lm.bank, 40, seed=7):
        first = example.ids[example.prefix]
        if first in ids:
            found.setdefault(ids[first], example)
    assert set(found) == set(old)
    return [found[name] for name in old]


def _keep(lm: MemoryLM, examples: list[Encoded]) -> None:
    ids = {lm.bank.slots.ids(n)[0]: n for n in lm.bank.names}
    for example in examples:
        (prefix,) = read_prefixes(lm, [example.ids[: example.prefix]])
        lm.bank.keep_states(ids[example.ids[example.prefix]], prefix.hidden[None])


def _objective(lm: MemoryLM, **options: bool) -> BankObjective:
    return BankObjective(lm, frozen_prefix=True, cache_bytes=1 << 20, seed=3, **options)


def _piece(lm: MemoryLM, step: int = 0, count: int = 6) -> Piece:
    examples = tiny_examples(lm.bank, count)
    return Piece(examples, examples, range(count), "w", (step, 0))


@coupled
def test_a_negative_is_the_routing_of_an_earlier_query(coupled: bool) -> None:
    """Same loss and gradient as running the query again with its memory token the only target."""
    lm = tiny_lm("llama", coupled)
    old = _old_examples(lm)
    _keep(lm, old)
    objective = _objective(lm, negatives=True)
    states, calls_for = objective.states, objective.calls_for

    total = next(objective.losses([_piece(lm)])).total - next(_objective(lm).losses([_piece(lm)])).total
    total.backward()
    fast = [t.fresh.grad.clone() for t in lm.bank.tables if t.fresh.grad is not None]
    lm.bank.zero_grad()

    rng = stream(3, "negatives", 0, 0)
    slow = torch.zeros(())
    for _ in range(6):
        called = int(calls_for[rng.randrange(len(states))])
        example = next(e for e in old if e.ids[e.prefix] == called)
        only = tuple(i == example.prefix for i in range(len(example.ids)))
        slow = slow + plain_loss(lm, [replace(example, supervised=only)]).total
    slow.backward()
    torch.testing.assert_close(total, slow, rtol=1e-5, atol=1e-5)
    for table, gradient in zip(lm.bank.tables, fast, strict=False):
        if table.fresh.grad is not None:
            torch.testing.assert_close(gradient, table.fresh.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.trains
@coupled
def test_earlier_rows_stay_bit_equal_and_old_queries_are_defended(coupled: bool) -> None:
    settings = FitSettings(lr=0.3, epochs=12, batch_size=6, seed=1)
    losses = {}
    for negatives in (False, True):
        lm = tiny_lm("llama", coupled)
        old = _old_examples(lm)
        _keep(lm, old)
        before = [t.frozen.clone() for t in lm.bank.tables]
        new = [e for e in tiny_examples(lm.bank, 30) if e.ids[e.prefix] not in {o.ids[o.prefix] for o in old}]
        fit(_objective(lm, negatives=negatives), new, settings)
        assert all(torch.equal(b, t.frozen) for b, t in zip(before, lm.bank.tables, strict=True))
        only = [replace(e, supervised=tuple(i == e.prefix for i in range(len(e.ids)))) for e in old]
        losses[negatives] = float(plain_loss(lm, only).total.detach())
    assert losses[True] < losses[False]


def test_a_resumed_run_draws_the_same(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int) -> torch.Tensor:
        lm = tiny_lm("llama", True)
        _keep(lm, _old_examples(lm))
        settings = FitSettings(lr=0.05, epochs=epochs, batch_size=4, schedule="constant", warmup=0.0)
        fit(_objective(lm, negatives=True), tiny_examples(lm.bank, 12), settings, checkpoint=folder)
        return lm.bank.steering.rows()

    whole = run(tmp_path / "whole", 4)
    calls = 0
    step = BankObjective.after_step

    def stop(self: BankObjective) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BankObjective, "after_step", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", 4)
    assert torch.equal(run(tmp_path / "cut", 4), whole)


def test_renorm_after_each_step_keeps_new_rows_at_the_old_norm() -> None:
    lm = tiny_lm("llama", True)
    fit(_objective(lm, renorm=True), tiny_examples(lm.bank, 12), FitSettings(lr=0.3, batch_size=4))
    fresh = lm.bank.fresh_names
    old = [n for n in lm.bank.names if n not in fresh]
    norm = torch.stack([lm.bank.rows(n)[0].norm() for n in old]).mean()
    torch.testing.assert_close(
        torch.stack([lm.bank.rows(n)[0].norm() for n in fresh]), norm.expand(len(fresh)), rtol=1e-4, atol=1e-5
    )


def _chains(count: int, *names: str) -> list[Example]:
    """Queries that call the procedures one after the other."""
    return [
        Example(f"{names[0]} city {i}", tuple(Turn(name, f"{name} {i}") for name in names), id=f"{i}")
        for i in range(count)
    ]


def _method(coupled: bool, **options: Any) -> TokMem:
    settings = FitSettings(lr=0.3, epochs=8, batch_size=4)
    backbone = tiny_backbone(tiny_tokenizer(LLAMA))
    kind = {"coupled": coupled, "addresses": "trained"}
    return TokMem(backbone, prompt="query", settings=settings, **kind, **options)


def test_turns_are_drawn_as_evenly_as_there_are() -> None:
    turns = turns_of([*_chains(9, "a", "b", "a"), *_chains(2, "b", "b", "b", "a")])
    assert {name: {n: len(e) for n, e in found.items()} for name, found in turns.items()} == {
        "a": {0: 9, 2: 9, 3: 2},
        "b": {0: 2, 1: 11, 2: 2},
    }
    drawn = draw_evenly(turns["a"], 10, Random(0))
    assert Counter(n for n, _ in drawn) == {0: 4, 2: 4, 3: 2}
    assert len({(n, e.id, e.query) for n, e in drawn}) == 10
    assert all(e.turns[n].procedure == "a" for n, e in drawn)
    assert len(draw_evenly(turns["a"], 99, Random(0))) == 20
    first = {draw_evenly(turns["a"], 1, Random(seed))[0][0] for seed in range(20)}
    assert first == {0, 2, 3}, "no turn is preferred where not all can be had"
    alone = {0: _chains(5, "a")}
    assert [e.id for _, e in draw_evenly(alone, 2, Random(3))] == [
        e.id for e in Random(3).sample(alone[0], 2)
    ]


@pytest.mark.parametrize("width", [1, 2])
@coupled
def test_states_of_a_chain_are_those_before_its_memory_tokens(coupled: bool, width: int) -> None:
    made = _method(coupled, negatives=4, width=width)
    train = _chains(5, "one", "two", "one")
    made.learn([Procedure("one"), Procedure("two")], train, [])
    assert {name: len(states) for name, states in made.bank.states.items()} == {"one": 4, "two": 4}
    with torch.no_grad():
        hidden, targets = plain_states(made.lm, [made.encoder.encode(e) for e in train])
    places: Counter[tuple[str, int]] = Counter()
    for name in made.bank.names:
        right = hidden[targets == made.bank.slots.ids(name)[0]]
        for state in made.bank.states[name]:
            apart = (right - state).norm(dim=1)
            assert apart.min() < 1e-4
            places[name, int(apart.argmin()) % (len(right) // 5)] += 1
    assert places == {("one", 0): 2, ("one", 1): 2, ("two", 0): 4}


@pytest.mark.trains
@coupled
def test_a_newcomer_is_held_off_later_turns(coupled: bool) -> None:
    """Beyond what states before first turns alone would do."""
    losses = {}
    for kept in ("none", "first turns", "all turns"):
        made = _method(coupled, negatives=0 if kept == "none" else 4)
        old = _chains(6, "one", "two")
        made.learn([Procedure("one"), Procedure("two")], old, [])
        if kept == "first turns":
            made.bank.keep_states("two", torch.zeros(0, made.bank.dim))
        made.learn([Procedure("three")], _chains(12, "one", "three"), [])
        second = made.bank.slots.ids("two")[0]
        encoded = [made.encoder.encode(e) for e in old]
        only = [replace(e, supervised=tuple(i == second for i in e.ids)) for e in encoded]
        losses[kept] = float(plain_loss(made.lm, only).total.detach())
    assert losses["all turns"] < losses["first turns"] - 0.1
    assert losses["all turns"] < losses["none"] - 0.1


def test_the_seed_chooses_the_states_that_are_kept() -> None:
    lm, encoder = tiny_lm("llama"), _Encoder()
    names = lm.bank.names[:1]
    train = [Example(str(number), (Turn(names[0], "x"),)) for number in range(40)]
    kept = []
    for seed in (0, 0, 1):
        keep_states(lm, encoder, names, train, 2, seed)  # type: ignore[arg-type]
        kept.append(lm.bank.states[names[0]])
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


class _Encoder:
    """The number of an example, and the memory token."""

    def encode(self, example: Example) -> Encoded:
        head = tiny_lm("llama").bank.head_ids[0].item()
        return Encoded((2, 3 + int(example.query), int(head)), (False, False, True), 2)
