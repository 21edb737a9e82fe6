"""Memorisation: runs side by side equal runs alone, and infix and prefix equal the plain loop."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import DIM, SPARE, VOCAB, tiny_model
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.data.placement import Placement, insert_memory, memory_position
from tokmem.errors import ConfigError, TrainingError
from tokmem.eval.perplexity import TokenTally
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import read_prefixes
from tokmem.records import Encoded, Procedure
from tokmem.train import memory_tokens as module
from tokmem.train.memorise import MemoriseSettings, RunRecord, _SideBySide
from tokmem.train.memory_tokens import MemoryTokens, memorise, tallies
from tokmem.train.step import frozen_prefix_loss, plain_loss

SETTINGS = MemoriseSettings(lr=0.05, steps=12, check_every=3, patience=0)
WIDTH, LENGTH = 2, 6


def passages(run: int, count: int) -> list[tuple[list[int], list[int]]]:
    """Pairs of a query, of 2 to 4 tokens, and a sequence."""
    rng = Random(run)

    def ids(count: int) -> list[int]:
        return [rng.randrange(3, 90) for _ in range(count)]

    return [([2, *ids(rng.randint(1, 3))], ids(LENGTH)) for _ in range(count)]


def prepared(
    runs: list[int], placement: Placement = "infix", *, counts: int | list[int] = 2, name: str = "llama"
) -> tuple[MemoryLM, list[list[Encoded]]]:
    """A model with a slot of two memory tokens for each of the numbered runs, and their sequences."""
    bank = Bank(DIM, IdSpace(VOCAB, SPARE))
    start = [torch.randn(WIDTH, DIM, generator=torch.Generator().manual_seed(run)) * 0.3 for run in runs]
    bank.add([Procedure(f"run {run}") for run in runs], torch.stack(start))
    counts = [counts] * len(runs) if isinstance(counts, int) else counts
    encoded = []
    for run, count in zip(runs, counts, strict=True):
        memory, examples = bank.memory[f"run {run}"], []
        for query, ids in passages(run, count):
            flags = (*[False] * len(query), *[True] * LENGTH)
            plain = Encoded((*query, *ids), flags, len(query), f"{run}")
            examples.append(insert_memory(plain, memory, memory_position(placement, query, 2)))
        encoded.append(examples)
    return MemoryLM(tiny_model(name), bank, writes=False), encoded


def trained(
    runs: list[int], placement: Placement = "infix", settings: MemoriseSettings = SETTINGS, **options: Any
) -> list[RunRecord]:
    made = {key: options.pop(key) for key in ("counts", "name") if key in options}
    lm, encoded = prepared(runs, placement, **made)
    return memorise(lm, encoded, settings, frozen_prefix=placement == "infix", **options)


@pytest.mark.parametrize("placement", ["infix", "prefix"])
def test_side_by_side_equals_each_alone(placement: Placement) -> None:
    together = trained([0, 1, 2], placement, counts=[1, 3, 2])
    for run, count in enumerate((1, 3, 2)):
        (alone,) = trained([run], placement, counts=[count])
        record = together[run]
        assert not torch.equal(record.rows, record.start)
        torch.testing.assert_close(record.rows, alone.rows, rtol=1e-3, atol=1e-4)
        assert [step for step, _ in record.checks] == [0, 3, 6, 9, 12]
        for (_, one), (_, other) in zip(record.checks, alone.checks, strict=True):
            assert one.nll == pytest.approx(other.nll, rel=1e-3)
            assert one.tokens == LENGTH * count


def test_micro_batches_change_nothing() -> None:
    whole, parts = trained([0, 1]), trained([0, 1], settings=MemoriseSettings(0.05, 12, 3, 0, batch_size=1))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.rows, other.rows, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gemma2"])
@pytest.mark.parametrize("placement", ["infix", "prefix", "before_bos"])
def test_losses_and_gradients_are_those_of_the_model_given_embeddings(
    name: str, placement: Placement
) -> None:
    """The oracle puts the rows among the embeddings of each sequence and runs transformers alone."""
    lm, encoded = prepared([0, 1], placement, name=name)
    examples = [example for run in encoded for example in run]
    rows = lm.read.steering.rows().requires_grad_()
    wanted = sum(oracle(lm, example, rows) for example in examples)
    (gradient,) = torch.autograd.grad(wanted, rows)
    losses = [plain_loss(lm, examples)]
    if placement == "infix":
        prefixes = read_prefixes(lm, [e.ids[: e.prefix] for e in examples])
        losses.append(frozen_prefix_loss(lm, examples, prefixes))
    for loss in losses:
        lm.read.zero_grad()
        loss.total.backward()
        torch.testing.assert_close(loss.total, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(lm.read.steering.fresh.grad, gradient, rtol=1e-4, atol=1e-5)


def test_a_step_descends_on_the_mean_loss_of_each_run() -> None:
    """AdamW hides the scale of a gradient, so the gradient itself is compared."""
    lm, encoded = prepared([0, 1], counts=[1, 3])
    rows = lm.read.steering.rows().requires_grad_()
    means = [sum(oracle(lm, e, rows) for e in run) / (LENGTH * len(run)) for run in encoded]
    (wanted,) = torch.autograd.grad(sum(means), rows)
    made = MemoryTokens(lm, encoded, True, None)
    _SideBySide(made, SETTINGS)._pass(check=False)
    torch.testing.assert_close(made.table.fresh.grad, wanted, rtol=1e-4, atol=1e-6)


def oracle(lm: MemoryLM, example: Encoded, rows: Tensor) -> Tensor:
    embedding, slots = lm.model.get_input_embeddings(), lm.read.slots.token_ids
    vectors = torch.stack(
        [
            scaled(lm.model, rows[slots.index(i)]) if i in slots else embedding(torch.tensor(i))
            for i in example.ids[:-1]
        ]
    )
    logits = lm.model(inputs_embeds=vectors[None]).logits[0]
    chosen = torch.tensor(example.supervised[1:])
    return nn.functional.cross_entropy(logits[chosen], torch.tensor(example.ids[1:])[chosen], reduction="sum")


def scaled(model: nn.Module, row: Tensor) -> Tensor:
    """Gemma's embedding module multiplies what it looks up."""
    return row * getattr(model.get_input_embeddings(), "embed_scale", torch.tensor(1.0))


def test_prefix_takes_the_plain_path_and_infix_the_frozen_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for name in ("plain_states", "frozen_prefix_states"):
        inner = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, inner=inner, name=name: taken.append(name) or inner(*args)
        )
    few = MemoriseSettings(steps=2, check_every=1)
    trained([0], "infix", few)
    assert set(taken) == {"frozen_prefix_states"}
    taken.clear()
    trained([0], "prefix", few)
    assert set(taken) == {"plain_states"}


def test_both_paths_train_infix_alike() -> None:
    lm, encoded = prepared([0, 1])
    plain = memorise(lm, encoded, SETTINGS, frozen_prefix=False)
    for one, other in zip(trained([0, 1]), plain, strict=True):
        torch.testing.assert_close(one.rows, other.rows, rtol=1e-3, atol=1e-4)


def test_the_best_rows_of_each_run_are_kept_and_the_backbone_stays() -> None:
    lm, encoded = prepared([0, 1])
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    memorise(lm, encoded, MemoriseSettings(lr=0.2, steps=40, check_every=40), frozen_prefix=True)
    rows = lm.read.steering.rows()
    spoiling = MemoriseSettings(lr=30.0, steps=9, check_every=1, patience=2)
    for record, run in zip(memorise(lm, encoded, spoiling, frozen_prefix=True), encoded, strict=True):
        assert [step for step, _ in record.checks] == [0, 1, 2]
        assert record.best_step == 0
        assert record.best.nll == min(tally.nll for _, tally in record.checks)
        after = sum(tallies(lm, run), TokenTally())
        assert after.nll == pytest.approx(record.best.nll, rel=1e-4)
        assert (after.correct, after.tokens) == (record.best.correct, record.best.tokens)
    assert torch.equal(lm.read.steering.rows(), rows)
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())


def test_a_run_that_has_enough_stops_and_the_others_go_on() -> None:
    (easy,) = trained([0], counts=1, settings=MemoriseSettings(0.1, 40, 4, 0))
    limit = easy.checks[5][1].mean_nll * 1.001
    records = trained([0, 1], counts=[1, 4], settings=MemoriseSettings(0.1, 40, 4, 0, enough=limit))
    assert records[0].checks[-1][0] <= 20 < records[1].checks[-1][0]
    assert records[0].best.mean_nll <= limit


def test_nothing_runs_once_every_run_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, real = [], _SideBySide._pass

    def counted(self: _SideBySide, *, check: bool) -> list[TokenTally]:
        passes.append(list(self.active))
        return real(self, check=check)

    monkeypatch.setattr(_SideBySide, "_pass", counted)
    trained([0, 1], settings=MemoriseSettings(0.1, 40, 4, 0, enough=100.0))
    assert passes == [[0, 1]]


def test_only_the_leading_coordinates_move() -> None:
    for record in trained([0, 1], dimension=5):
        moved = record.rows != record.start
        assert moved[:, :5].any()
        assert not moved[:, 5:].any()


def test_steps_to_a_share_of_the_best() -> None:
    record = RunRecord(torch.zeros(1), torch.zeros(1))
    record.checks = [(s, TokenTally(nll, 0, 1)) for s, nll in ((0, 3.0), (10, 1.1), (20, 1.05), (30, 1.0))]
    record.best_step = 30
    assert record.steps_to(0.9) == 10
    assert record.steps_to(0.99) == 30


def test_what_cannot_be_trained_is_refused() -> None:
    lm, encoded = prepared([0, 1])
    for runs in (encoded[:1], encoded[::-1], []):
        with pytest.raises(TrainingError, match=r"runs|memory tokens"):
            memorise(lm, runs, SETTINGS, frozen_prefix=True)
    with pytest.raises(TrainingError, match="dimension 33"):
        memorise(lm, encoded, SETTINGS, frozen_prefix=True, dimension=33)
    lm, encoded = prepared([0], "before_bos")
    with pytest.raises(TrainingError, match="0 tokens before"):
        memorise(lm, encoded, SETTINGS, frozen_prefix=True)


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in ("steps", "check_every", "batch_size")),
        *({name: -1} for name in ("lr", "patience", "enough", "warmup")),
        {"schedule": "cosine"},
    ],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MemoriseSettings(**wrong)
