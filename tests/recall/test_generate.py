from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests import oracles
from tests.tiny import DIM, SPARE, STOP, VOCAB, tiny_examples, tiny_lm, tiny_model
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.errors import BankError, ConfigError, RecallError
from tokmem.model.backbone import most_positions
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.generate import Generation, Recaller
from tokmem.recall.rows import Row
from tokmem.recall.settings import RecallSettings
from tokmem.recall.writer import Writer
from tokmem.records import Procedure, Route

MOST = 14


def recall(
    lm: MemoryLM, prompts: list[tuple[int, ...]], procedures: Any = None, **options: Any
) -> list[Generation]:
    settings = RecallSettings(**{"max_new_tokens": MOST, "batch_size": 4} | options)
    return Recaller(lm, [STOP], settings)(prompts, procedures)


def prompts_of(lm: MemoryLM, count: int = 6) -> list[tuple[int, ...]]:
    return [example.ids[: example.prefix] for example in tiny_examples(lm.bank, count)]


def ids_of(lm: MemoryLM, generation: Generation) -> list[int]:
    """The generated ids, put together again from the turns."""
    turns = ([*lm.bank.slots.ids(name), *ids] for name, ids in generation.turns)
    return [*generation.text, *itertools.chain.from_iterable(turns)]


def eager(lm: MemoryLM) -> MemoryLM:
    """Makes the stop token and the addresses likely, so that rows end at different times and chains form."""
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[STOP] *= 3
        for table in (lm.bank.address.frozen, lm.bank.address.fresh.data):
            table *= 1.5
    return lm


@pytest.mark.parametrize("mode", ["atomic", "chain"])
@pytest.mark.parametrize(
    ("name", "coupled", "width"),
    [
        *(("llama", True, 1), ("gemma2", False, 1), ("mistral", True, 2), ("gpt-neox", False, 2)),
        *(("llama-tied", False, 2), ("qwen2", True, 1), ("qwen3", False, 1), ("gemma3", True, 2)),
    ],
)
def test_recall_equals_plain_greedy_decoding(name: str, coupled: bool, width: int, mode: str) -> None:
    lm = eager(tiny_lm(name, coupled, width=width))
    prompts = prompts_of(lm)
    got = recall(lm, prompts, mode=mode)
    for prompt, generation in zip(prompts, got, strict=True):
        wanted = oracles.greedy(lm.model, lm.bank, prompt, STOP, MOST, atomic=mode == "atomic")
        # A wide procedure that the limit cuts short is put together whole by `ids_of`.
        assert ids_of(lm, generation)[: len(wanted)] == wanted
        assert generation.finished == (len(wanted) < MOST)
        assert generation.route.procedure == generation.turns[0][0]
        assert mode == "chain" or len(generation.turns) == 1


def test_the_cases_above_have_chains_and_rows_that_end_at_different_times() -> None:
    lm = eager(tiny_lm("gpt-neox", False, width=2))
    got = recall(lm, prompts_of(lm), mode="chain")
    assert max(len(g.turns) for g in got) > 1
    assert len({len(ids_of(lm, g)) for g in got}) > 1
    assert {g.finished for g in got} == {True, False}


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_an_empty_bank_generates_as_transformers_does(name: str) -> None:
    model = tiny_model(name)
    with torch.no_grad():
        model.get_output_embeddings().weight[STOP] *= 2
    lm = MemoryLM(model, Bank(DIM, IdSpace(VOCAB, SPARE)))
    prompts = prompts_of(tiny_lm("llama"))
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    wanted = model.generate(padded, attention_mask=mask, do_sample=False, max_new_tokens=MOST)[:, longest:]
    for generation, row in zip(recall(lm, prompts), wanted.tolist(), strict=True):
        ids = row[: row.index(STOP)] if STOP in row else row
        assert (generation.text, generation.turns, generation.route) == (ids, [], None)
        assert generation.finished == (STOP in row)


def test_batches_change_nothing_and_answers_keep_their_order() -> None:
    lm = eager(tiny_lm("llama"))
    prompts = prompts_of(lm)
    alone = [recall(lm, [prompt])[0] for prompt in prompts]
    for size in (3, 32):
        together = recall(lm, prompts, batch_size=size)
        assert [(g.text, g.turns) for g in together] == [(g.text, g.turns) for g in alone]


@pytest.mark.parametrize("width", [1, 2])
def test_forced_procedures_open_the_turns_in_order(width: int) -> None:
    lm = eager(tiny_lm("llama", True, width=width))
    prompts = prompts_of(lm, 3)
    forced = [["new1"], ["old0", "new2", "old0"], []]
    got = recall(lm, prompts, forced, mode="chain", max_new_tokens=60)
    assert [[name for name, _ in g.turns] for g in got] == forced
    assert all(g.finished for g in got)
    assert got[0].route == recall(lm, prompts)[0].route
    atomic = recall(lm, prompts[:1], [["new1"]], max_new_tokens=60)[0]
    assert [name for name, _ in atomic.turns] == ["new1"]


@pytest.mark.parametrize(("mode", "width"), [("atomic", 1), ("chain", 2)])
def test_composed_procedures_stand_together_before_one_response(mode: str, width: int) -> None:
    lm = eager(tiny_lm("llama", False, width=width))
    for prompt in prompts_of(lm, 3):
        (got,) = recall(lm, [prompt], [[("new1", "old0", "new2")]], mode=mode, max_new_tokens=40)
        assert [name for name, _ in got.turns] == ["new1", "old0", "new2"]
        assert [ids for _, ids in got.turns[:-1]] == [[], []]
        tokens = [i for name in ("new1", "old0") for i in lm.bank.slots.ids(name)]
        (last,) = recall(lm, [(*prompt, *tokens)], [["new2"]], mode=mode, max_new_tokens=40 - len(tokens))
        assert got.turns[-1] == last.turns[0]
        assert len(got.routes) == 3
    (first, second) = recall(lm, prompts_of(lm, 2), [[("new1", "new2"), "old0"], ["new1"]], max_new_tokens=40)
    assert [name for name, _ in first.turns] == ["new1", "new2", "old0"]
    assert [name for name, _ in second.turns] == ["new1"]


def test_every_turn_has_its_route() -> None:
    lm = eager(tiny_lm("gpt-neox", False, width=2))
    prompts = prompts_of(lm)
    forced = [["new1", "old0", "new2"]] * len(prompts)
    free = recall(lm, prompts, mode="chain", top_k=9)
    scripted = recall(lm, prompts, forced, mode="chain", top_k=9, max_new_tokens=60)
    assert max(len(g.turns) for g in free) > 1
    for prompt, generation in zip([*prompts, *prompts], [*free, *scripted], strict=True):
        assert len(generation.routes) == len(generation.turns)
        written = list(prompt)
        for (name, ids), found in zip(generation.turns, generation.routes, strict=True):
            hidden = lm.hidden(*(t[None] for t in whole(written)))[0, -1:]
            wanted = lm.head.memory(hidden).softmax(-1)[0].tolist()
            assert {c.procedure: pytest.approx(c.probability, abs=1e-5) for c in found.choices} == dict(
                zip(lm.bank.names, wanted, strict=True)
            )
            written += [*lm.bank.slots.ids(name), *ids]
    assert all(g.routes[0] == g.route for g in free)
    assert all(
        found.procedure == name for g in free for (name, _), found in zip(g.turns, g.routes, strict=True)
    )


def whole(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor(ids), torch.ones(len(ids), dtype=torch.long), torch.arange(len(ids))


def test_a_forced_turn_is_what_greedy_decoding_writes_after_its_token() -> None:
    lm = tiny_lm("llama", False)
    prompt = prompts_of(lm, 1)[0]
    name = lm.bank.names[-1]
    only = MemoryLM(lm.model, lm.bank.slice([name]))
    assert recall(lm, [prompt], [[name]])[0].turns == recall(only, [prompt])[0].turns


def test_reject_lets_an_ordinary_token_win() -> None:
    lm = tiny_lm("llama")
    lm.bank.address.frozen.zero_()
    lm.bank.address.fresh.data.zero_()
    prompt = prompts_of(lm, 1)
    answered, rejected = recall(lm, prompt)[0], recall(lm, prompt, reject=True)[0]
    assert answered.route.rejected
    assert rejected.route == answered.route
    assert (answered.text, len(answered.turns)) == ([], 1)
    assert (bool(rejected.text), rejected.turns) == (True, [])
    forced = recall(lm, prompt, [["new0"]], reject=True)[0]
    assert [name for name, _ in forced.turns] == ["new0"]


def test_sampling_depends_on_the_seed_alone() -> None:
    lm = tiny_lm("llama")
    prompts = prompts_of(lm)
    options = {"temperature": 1.0, "mode": "chain"}
    first, again, other = (
        [(g.text, g.turns) for g in recall(lm, prompts, seed=seed, **options)] for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
    narrow = recall(lm, prompts, seed=3, temperature=1.0, top_p=1e-6)
    assert [g.turns for g in narrow] == [g.turns for g in recall(lm, prompts)]


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("mode", ["atomic", "chain"])
def test_a_strong_penalty_of_repetition_lets_no_token_come_twice(mode: str, continuous: bool) -> None:
    lm = tiny_lm("llama")
    options = {"mode": mode, "continuous": continuous}

    def twice(**more: Any) -> bool:
        found = [ids for one in recall(lm, prompts_of(lm), **options, **more) for _, ids in one.turns]
        assert any(map(len, found))
        return any(len({*ids}) < len(ids) for ids in found)

    assert twice()
    assert not twice(repetition_penalty=1e4)


def test_a_penalty_of_repetition_changes_no_route() -> None:
    lm = tiny_lm("llama")
    toward = 2 * lm.bank.addresses()[:1]

    def routed(penalty: float) -> Route:
        settings = RecallSettings(mode="chain", repetition_penalty=penalty)
        row = Row((5,), 9, Random(0), ids=[*range(SPARE[0])])
        Writer(lm, frozenset([STOP]), settings).next(toward, [row])
        (found,) = row.routes
        return found

    assert routed(2.0) == routed(1.0)
    assert routed(1.0).memory_mass < 0.9, "ordinary tokens count"


def test_a_learned_table_of_positions_ends_a_response_and_refuses_what_is_longer() -> None:
    config = GPT2Config(vocab_size=VOCAB, n_positions=12, n_embd=DIM, n_layer=1, n_head=2)
    bank = Bank(DIM, IdSpace(VOCAB, SPARE))
    bank.add([Procedure("a")], torch.randn(1, 1, DIM))
    lm = MemoryLM(GPT2LMHeadModel(config).eval(), bank)
    short, long = recall(lm, [(1,) * 3, (1,) * 9])  # no token stops
    assert [len(ids_of(lm, one)) for one in (short, long)] == [10, 4]
    assert not short.finished
    with pytest.raises(RecallError, match=r"a prompt of 13 tokens.*at most 12"):
        recall(lm, [(1,) * 13])
    assert most_positions(tiny_model("llama")) is None


def test_a_limit_below_one_is_refused() -> None:
    lm = tiny_lm("llama")
    with pytest.raises(RecallError, match="a limit of 0 tokens"):
        Recaller(lm, [STOP], RecallSettings())(prompts_of(lm, 2), limits=[3, 0])


@pytest.mark.parametrize("most", [1, 5])
def test_no_more_tokens_than_allowed(most: int) -> None:
    lm = tiny_lm("llama", True, "append")
    for generation in recall(lm, prompts_of(lm), max_new_tokens=most):
        assert len(ids_of(lm, generation)) <= most
        assert generation.finished == (len(ids_of(lm, generation)) < most)


def test_no_prompts_no_answers() -> None:
    assert recall(tiny_lm("llama"), []) == []


@pytest.mark.parametrize("size", [2, 4])
def test_a_recurrent_backbone_needs_batches_of_one(size: int) -> None:
    lm = tiny_lm("qwen3")
    lm.model.config.layer_types = ["linear_attention", "full_attention"]
    match = f"Qwen3ForCausalLM keeps a recurrent state and batch_size is {size}"
    with pytest.raises(RecallError, match=match):
        recall(lm, prompts_of(lm), batch_size=size)


def test_procedures_must_be_known_and_one_sequence_a_query() -> None:
    lm = tiny_lm("llama")
    with pytest.raises(BankError, match="'nope'"):
        recall(lm, prompts_of(lm, 1), [["nope"]])
    with pytest.raises(RecallError, match="procedures for 1 of 2 queries"):
        recall(lm, prompts_of(lm, 2), [["new0"]])


@pytest.mark.parametrize("forced", [["new0", "nope"], ["new0", ("old0", "nope")]])
def test_an_unknown_procedure_is_refused_before_anything_is_generated(
    forced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("llama")
    monkeypatch.setattr(Recaller, "_decode", None)
    with pytest.raises(BankError, match="procedure 'nope'"):
        recall(lm, prompts_of(lm, 2), [["new0"], forced])
    with pytest.raises(BankError, match="procedure 'nope'"):
        next(Recaller(lm, [STOP], RecallSettings()).stream((1, 2), forced))


@pytest.mark.parametrize("count", [1, 3])
def test_limits_are_one_a_query(count: int) -> None:
    lm = tiny_lm("llama")
    recaller = Recaller(lm, [STOP], RecallSettings())
    with pytest.raises(RecallError, match=f"{count} limits for 2 queries"):
        recaller(prompts_of(lm, 2), limits=[1] * count)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "chains"},
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"repetition_penalty": 0.5},
        {"repetition_penalty": float("nan")},
        {"repetition_penalty": float("inf")},
        {"batch_size": 0},
        {"top_k": 0},
    ],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RecallSettings(**wrong)
