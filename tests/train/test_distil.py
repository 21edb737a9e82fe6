"""Distillation: value and gradient equal the plain loop's; rows learn what the teacher predicts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests import oracles
from tests.tiny import STOP, VOCAB, tiny_bank, tiny_examples, tiny_lm, tiny_model, tiny_plain_examples
from tokmem.errors import TrainingError
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train import distil
from tokmem.train.checkpoint import run_identity
from tokmem.train.distil import DistilObjective
from tokmem.train.fit import fit
from tokmem.train.objective import Piece
from tokmem.train.settings import FitSettings
from tokmem.train.targets import Targets, read_targets

K = 4
OPTIONS = {"cache_bytes": 1 << 20}


def responses(lm: MemoryLM, examples: list[Encoded]) -> list[list[int]]:
    heads = {ids[0] for ids in lm.bank.memory.values()}
    return [[i for i, on in zip(e.ids, e.supervised, strict=True) if on and i not in heads] for e in examples]


def some_targets(lm: MemoryLM, examples: list[Encoded]) -> Targets:
    """Random predictions of ordinary tokens, one a response token."""
    counts = {e.id: len(own) for e, own in zip(examples, responses(lm, examples), strict=True)}
    rows = sum(counts.values())
    ids = torch.stack([torch.randperm(90)[:K] for _ in range(rows)])
    logs = torch.randn(rows, K + 1).log_softmax(-1)
    return Targets(ids.int(), logs[:, :K].contiguous(), logs[:, K].contiguous(), counts)


def oracle(
    lm: MemoryLM, examples: list[Encoded], made: Targets, reverse: bool = False
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    def teacher(example: str, place: int) -> dict[int, float]:
        row = made.rows(example)[place]
        return {int(i): math.exp(x) for i, x in zip(made.ids[row], made.logs[row].tolist(), strict=True)}

    tables = [table.rows().requires_grad_() for table in lm.bank.tables]
    loss = oracles.distil_loss(lm.model, lm.bank, tables[-1], tables[0], examples, teacher, reverse)
    first = lm.bank.steering.frozen.shape[0]
    return loss.detach(), [g[first:] for g in torch.autograd.grad(loss, tables)]


def ours(lm: MemoryLM, objective: DistilObjective, examples: list[Encoded]) -> torch.Tensor:
    objective.begin(examples, ())
    lm.bank.zero_grad()
    count = sum(sum(e.supervised) for e in examples)
    parts = [range(0, 4), range(4, len(examples))]
    pieces = [Piece([examples[i] for i in p], examples, list(p), 0, (0, 0)) for p in parts]
    sums = list(objective.losses(pieces))
    assert sum(one.count for one in sums) == count
    total = torch.stack([one.total for one in sums]).sum() / count
    total.backward()
    return total.detach()


@pytest.mark.parametrize("policy", ["auto", "append"])
@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "plain"])
@pytest.mark.parametrize(
    ("name", "reverse"), [("llama-tied", False), ("gemma2", False), ("llama-tied", True)]
)
def test_value_and_gradient_equal_the_plain_loop(
    name: str, reverse: bool, frozen: bool, coupled: bool, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distil, "MAX_LOGITS", 3 * VOCAB)  # several parts
    lm = tiny_lm(name, coupled, policy, width=2)
    examples = tiny_examples(lm.bank, 7)
    made = some_targets(lm, examples)
    options = {"frozen_prefix": frozen, "targets": made, "reverse": reverse, **OPTIONS}
    loss = ours(lm, DistilObjective(lm, **options), examples)
    want, wanted = oracle(lm, examples, made, reverse)
    torch.testing.assert_close(loss, want, rtol=1e-5, atol=1e-6)
    for table, right in zip(lm.bank.tables, wanted, strict=True):
        assert right.abs().max() > 1e-4
        torch.testing.assert_close(table.fresh.grad, right, rtol=1e-4, atol=1e-6)


def test_hard_adds_the_cross_entropy_of_responses() -> None:
    lm = tiny_lm("llama", False)
    examples = tiny_examples(lm.bank, 7)
    made, options = some_targets(lm, examples), {"frozen_prefix": True, **OPTIONS}
    soft, both = (
        ours(lm, DistilObjective(lm, targets=made, hard=hard, **options), examples) for hard in (0.0, 2.0)
    )
    plain = oracles.plain_loss(lm.model, lm.bank, lm.bank.steering.rows(), lm.bank.address.rows(), examples)
    memory = part_of_loss(lm, examples, {ids[0] for ids in lm.bank.memory.values()})
    torch.testing.assert_close(both - soft, 2 * (plain - memory), rtol=1e-4, atol=1e-5)


def test_an_end_that_the_teacher_does_not_expect_has_no_cross_entropy() -> None:
    lm = tiny_lm("llama", False)
    examples = tiny_examples(lm.bank, 7)
    made, options = some_targets(lm, examples), {"frozen_prefix": True, "hard": 2.0, **OPTIONS}

    def loss(first: int, end: int | None) -> torch.Tensor:
        """The loss with a teacher whose most likely token is always `first`."""
        ids = torch.cat([torch.full_like(made.ids[:, :1], first), made.ids[:, 1:]], 1)
        return ours(lm, DistilObjective(lm, targets=replace(made, ids=ids), end=end, **options), examples)

    assert loss(STOP, STOP).equal(loss(STOP, None))
    ends = part_of_loss(lm, examples, {STOP})
    torch.testing.assert_close(loss(95, None) - loss(95, STOP), 2 * ends, rtol=1e-4, atol=1e-5)


def test_every_change_of_a_lesson_is_another_run() -> None:
    lm = tiny_lm("llama", False)
    examples = tiny_examples(lm.bank, 3)
    made, start = some_targets(lm, examples), lm.bank.steering.fresh.detach()
    changed = [
        {},
        {"hard": 0.5},
        {"end": 3},
        {"reverse": True},
        {"anchor": 2.0, "start": start},
        {"anchor": 2.0, "start": start + 1},
        *({"targets": replace(made, **{name: getattr(made, name) * 2})} for name in ("ids", "logs", "rest")),
    ]
    marks = []
    for change in changed:
        options = {"frozen_prefix": True, "targets": made, **OPTIONS, **change}
        facts, tensors = DistilObjective(lm, **options).identity()
        marks.append(run_identity(facts, examples, tensors))
    assert len(set(marks)) == len(changed)
    again = DistilObjective(lm, frozen_prefix=True, targets=made, **OPTIONS).identity()
    assert run_identity(again[0], examples, again[1]) == marks[0]


def test_an_anchor_pulls_steering_rows_to_their_start() -> None:
    lm = tiny_lm("llama", False)
    examples = tiny_examples(lm.bank, 7)
    made, options = some_targets(lm, examples), {"frozen_prefix": True, **OPTIONS}
    fresh = lm.bank.steering.fresh
    start = fresh.detach() + 1
    free, held = (
        ours(lm, DistilObjective(lm, targets=made, anchor=weight, start=start, **options), examples)
        for weight in (0.0, 3.0)
    )
    torch.testing.assert_close(held - free, 3.0 * fresh.numel() / start.square().sum())
    slope = fresh.grad.clone()
    ours(lm, DistilObjective(lm, targets=made, start=start, **options), examples)
    torch.testing.assert_close(slope - fresh.grad, 6.0 * (fresh.detach() - start) / start.square().sum())


def part_of_loss(lm: MemoryLM, examples: list[Encoded], tokens: set[int]) -> torch.Tensor:
    """The part of the mean cross-entropy that some tokens have."""
    count = sum(sum(e.supervised) for e in examples)
    only = [
        replace(e, supervised=tuple(on and i in tokens for i, on in zip(e.ids, e.supervised, strict=True)))
        for e in examples
    ]
    mean = oracles.plain_loss(lm.model, lm.bank, lm.bank.steering.rows(), lm.bank.address.rows(), only)
    return mean * sum(sum(e.supervised) for e in only) / count


@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
def test_targets_are_the_best_log_probabilities_without_banned_ids(packs: bool) -> None:
    lm = MemoryLM(tiny_model("llama"), tiny_bank(True, "auto", frozen=0, fresh=0))
    if not packs:
        lm.longest_packed = 0
    examples = tiny_plain_examples(5)
    made = read_targets(lm, examples, K, banned=[3, VOCAB + 7])
    for example in examples:
        ids = torch.tensor([example.ids])
        logits = lm.model(ids).logits[0].detach().index_fill(1, torch.tensor([3]), -torch.inf)
        wanted = logits.log_softmax(-1)[[i - 1 for i, on in enumerate(example.supervised) if on]]
        best, places = wanted.topk(K)
        rows = list(made.rows(example.id))
        assert torch.equal(made.ids[rows].long(), places)
        torch.testing.assert_close(made.logs[rows], best, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            made.logs[rows].exp().sum(1) + made.rest[rows].exp(), torch.ones(len(rows))
        )


def test_targets_come_back_from_their_file_and_from_no_other(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    made, path = some_targets(lm, tiny_examples(lm.bank, 3)), tmp_path / "targets.safetensors"
    assert Targets.load(path, "this") is None
    made.save(path, "this")
    again = Targets.load(path, "this")
    assert again is not None
    assert torch.equal(again.ids, made.ids)
    assert torch.equal(again.logs, made.logs)
    assert torch.equal(again.rest, made.rest)
    assert again.counts == made.counts
    assert Targets.load(path, "other") is None
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(TrainingError, match="damaged: its checksum differs"):
        Targets.load(path, "this")
    path.write_bytes(whole[:20])
    with pytest.raises(TrainingError, match=r"targets\.safetensors"):
        Targets.load(path, "this")


def test_a_file_that_lost_its_numbers_of_rows_is_damaged(tmp_path: Path) -> None:
    lm, path = tiny_lm("llama"), tmp_path / "targets.safetensors"
    some_targets(lm, tiny_examples(lm.bank, 3)).save(path, "this")
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    del facts["counts"]
    save_file(load_file(path), path, facts)
    with pytest.raises(TrainingError, match="damaged: its checksum differs"):
        Targets.load(path, "this")


def test_examples_that_the_teacher_did_not_answer_are_refused() -> None:
    lm = tiny_lm("llama")
    examples = tiny_examples(lm.bank, 3)
    made = some_targets(lm, examples)
    short = replace(made, counts={**made.counts, "0": made.counts["0"] - 1})
    for wrong, message in ((short, "'0'"), (replace(made, counts={}), "no targets")):
        objective = DistilObjective(lm, frozen_prefix=True, targets=wrong, **OPTIONS)
        with pytest.raises(TrainingError, match=message):
            objective.begin(examples, ())


@pytest.mark.trains
def test_a_soft_prompt_learns_what_the_teacher_reads() -> None:
    """The teacher has read one token more; the memory token learns to stand for it."""
    model = tiny_model("llama")
    lm, bank = MemoryLM(model, tiny_bank(False, "append", frozen=0, fresh=0)), tiny_bank(False, "append")
    plain = tiny_plain_examples(16)
    marked = [replace(e, ids=(77, *e.ids), supervised=(False, *e.supervised)) for e in plain]
    made = read_targets(lm, marked, 32)
    student = MemoryLM(model, bank, writes=False)
    token = bank.slots.ids("new0")[0]
    seen = [with_token(e, token) for e in plain]
    objective = DistilObjective(student, frozen_prefix=True, targets=made, **OPTIONS)
    report = fit(objective, seen, FitSettings(lr=0.05, epochs=40, batch_size=8))
    assert report.first_loss is not None
    assert report.loss < 0.6 * report.first_loss


def with_token(example: Encoded, token: int) -> Encoded:
    start = example.supervised.index(True)
    ids = (*example.ids[:start], token, *example.ids[start:])
    flags = (*example.supervised[:start], False, *example.supervised[start:])
    return Encoded(ids, flags, start, example.id)
