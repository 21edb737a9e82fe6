"""The frozen-prefix path equals the plain loop in loss and gradient, for every architecture and bank."""

from __future__ import annotations

import pytest
import torch

from tests import oracles
from tests.tiny import CONFIGS, tiny_bank, tiny_examples, tiny_lm, tiny_model
from tokmem.bank.bank import Bank
from tokmem.errors import TrainingError
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import read_prefixes
from tokmem.records import Encoded
from tokmem.train import loss as loss_module
from tokmem.train import step as step_module
from tokmem.train.bank_objective import BankObjective
from tokmem.train.loss import token_losses
from tokmem.train.objective import Piece
from tokmem.train.step import frozen_prefix_loss, plain_loss, portions, whole_loss

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def oracle(lm: MemoryLM, examples: list) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss and gradients of the fresh rows, in the order of `bank.tables`."""
    bank = lm.bank
    tables = [table.rows().requires_grad_() for table in bank.tables]
    loss = oracles.plain_loss(lm.model, bank, tables[-1], tables[0], examples)
    first = bank.steering.frozen.shape[0]
    return loss.detach(), [g[first:] for g in torch.autograd.grad(loss, tables)]


def ours(
    lm: MemoryLM, examples: list, *, frozen: bool, micro: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The same through TokMem, accumulated over micro-batches of `micro` examples."""
    count = sum(sum(e.supervised) for e in examples)
    prefixes = read_prefixes(lm, [e.ids[: e.prefix] for e in examples], batch_tokens=40)
    lm.bank.zero_grad()
    total = torch.zeros(())
    for start in range(0, len(examples), micro):
        part = slice(start, start + micro)
        sums = (
            frozen_prefix_loss(lm, examples[part], prefixes[part])
            if frozen
            else plain_loss(lm, examples[part])
        )
        (sums.total / count).backward()
        total += sums.total.detach() / count
    return total, [table.fresh.grad for table in lm.bank.tables]


def assert_equal(lm: MemoryLM, examples: list, *, frozen: bool = True, micro: int = 3) -> None:
    loss, gradients = ours(lm, examples, frozen=frozen, micro=micro)
    want, wanted = oracle(lm, examples)
    torch.testing.assert_close(loss, want, **CLOSE)
    for got, right in zip(gradients, wanted, strict=True):
        assert right.abs().max() > 1e-4
        torch.testing.assert_close(got, right, **CLOSE)


@pytest.mark.parametrize("policy", ["spare", "append", "auto"])
@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("name", CONFIGS)
def test_frozen_prefix_equals_the_plain_loop(name: str, coupled: bool, policy: str) -> None:
    lm = tiny_lm(name, coupled, policy)
    assert_equal(lm, tiny_examples(lm.bank, 7))


@pytest.mark.parametrize("name", CONFIGS)
def test_padded_rows_equal_the_plain_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm(name, False)
    lm.longest_packed = 0
    monkeypatch.setattr(MemoryLM, "packed", None)
    assert_equal(lm, tiny_examples(lm.bank, 7))


@pytest.mark.parametrize("name", sorted(name for name in CONFIGS if not name.startswith("gemma")))
def test_packed_rows_equal_the_plain_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the general test above Mistral's queries outgrow its window; here everything stays inside."""
    lm = tiny_lm(name, False)
    if name == "mistral":
        set_window(lm, 64)
    assert lm.longest_packed >= 64
    examples = tiny_examples(lm.bank, 7)
    assert len({e.prefix for e in examples}) > 3
    wanted = oracle(lm, examples)
    monkeypatch.setattr(MemoryLM, "hidden", None)
    loss, gradients = ours(lm, examples, frozen=True, micro=3)
    torch.testing.assert_close(loss, wanted[0], **CLOSE)
    for got, right in zip(gradients, wanted[1], strict=True):
        torch.testing.assert_close(got, right, **CLOSE)


def set_window(lm: MemoryLM, window: int) -> None:
    lm.model.config.sliding_window = window
    for layer in lm.model.get_decoder().layers:
        layer.self_attn.config.sliding_window = window


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_path_equals_the_oracle(name: str) -> None:
    lm = tiny_lm(name, False)
    assert_equal(lm, tiny_examples(lm.bank, 7), frozen=False)


@pytest.mark.parametrize("name", ["llama", "gpt-neox"])
def test_the_plain_path_in_parts_equals_the_oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "CPU_TOKENS", 30)
    lm = tiny_lm(name)
    examples = tiny_examples(lm.bank, 7)
    objective = BankObjective(lm, frozen_prefix=False, cache_bytes=0)
    parts = list(objective.losses([Piece(examples, examples, range(7), "all", (0, 0))]))
    assert len(parts) > 1
    want, wanted = oracle(lm, examples)
    total = torch.stack([part.total for part in parts]).sum() / objective.weight(examples)
    torch.testing.assert_close(total.detach(), want, **CLOSE)
    for got, right in zip(torch.autograd.grad(total, objective.parameters), wanted, strict=True):
        torch.testing.assert_close(got, right, **CLOSE)


def test_portions_hold_at_most_so_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "CPU_TOKENS", 6)
    examples = [Encoded((1,) * size, (True,) * size, 0) for size in (3, 3, 9, 2, 4, 1)]
    parts = portions(examples, torch.device("cpu"))
    assert [[len(e.ids) for e in part] for part in parts] == [[3, 3], [9], [2, 4], [1]]
    assert list(portions([], torch.device("cpu"))) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_sequences_without_padding_equal_the_plain_loop(name: str) -> None:
    lm = tiny_lm(name, False)
    examples = tiny_examples(lm.bank, 7)
    want, wanted = oracle(lm, examples)
    loss = whole_loss(lm, examples)
    (loss.total / loss.count).backward()
    torch.testing.assert_close(loss.total.detach() / loss.count, want, **CLOSE)
    for table, right in zip(lm.bank.tables, wanted, strict=True):
        torch.testing.assert_close(table.fresh.grad, right, **CLOSE)


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("name", CONFIGS)
def test_wide_procedures_in_chains(name: str, coupled: bool) -> None:
    lm = tiny_lm(name, coupled, "auto", width=2)
    assert len(set(lm.bank.slots.token_ids)) == 10
    assert_equal(lm, tiny_examples(lm.bank, 6, chain=4), micro=2)


def test_nothing_frozen_yet() -> None:
    lm = tiny_lm("llama", True, "auto", frozen=0)
    assert_equal(lm, tiny_examples(lm.bank, 4))


def tiny_parts(patch: pytest.MonkeyPatch, columns: int) -> None:
    """Four states at a time go through the head, over so many columns of it."""
    patch.setattr(loss_module, "MOST_STATES", 4)
    patch.setattr(loss_module, "CPU_LOGITS", 4 * columns)
    patch.setattr(loss_module, "LEAST_PART", columns)


@pytest.mark.parametrize("columns", [3, 95])
@pytest.mark.parametrize("name", ["gemma2", "gemma3", "llama"])
def test_head_in_parts(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts of three columns, all logits of one are those of replaced rows."""
    tiny_parts(monkeypatch, columns)
    lm = tiny_lm(name, False)
    assert lm.head.replaced(93, 90).tolist() == [90, 91, 92]
    assert_equal(lm, tiny_examples(lm.bank, 5))


@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_a_head_that_cannot_be_divided(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "MAX_LOGITS", 3 * 96)
    lm = tiny_lm(name, False)
    lm.model.lm_head.register_forward_hook(lambda module, given, out: out)
    assert not lm.head.divides
    assert_equal(lm, tiny_examples(lm.bank, 5))


@pytest.mark.parametrize("columns", [7, 96])
def test_a_target_that_is_almost_certain_keeps_its_gradient_in_half_precision(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """p - 1 = -0.003 would be lost where p is rounded before it is taken away."""
    tiny_parts(monkeypatch, columns)
    exact, half = (
        MemoryLM(tiny_model("llama").to(d), tiny_bank(True, "auto")) for d in (None, torch.bfloat16)
    )
    row = exact.model.lm_head.weight[20].detach()
    hidden = (row * 15 / row.square().sum())[None].bfloat16()
    gradients = []
    for lm in (exact, half):
        states = hidden.to(lm.model.dtype, copy=True).requires_grad_()
        loss = token_losses(lm.head, states, torch.tensor([20]))
        gradients.append(torch.autograd.grad(loss.sum(), states)[0].float())
    assert 0.001 < loss.item() < 0.01
    apart = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert apart < 0.1


def test_without_memory_tokens() -> None:
    bank = tiny_bank(True, "auto")
    lm = MemoryLM(tiny_model("llama"), Bank(32, bank.slots.space))
    ids = (2, 7, 30, 41, 4)
    got = plain_loss(lm, [Encoded(ids, (False, True, True, True, True), 1, "")])
    wanted = torch.nn.functional.cross_entropy(
        lm.model(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:]), reduction="sum"
    )
    torch.testing.assert_close(got.total, wanted, **CLOSE)


def test_a_head_that_trains_is_refused() -> None:
    lm = tiny_lm("llama")
    lm.model.lm_head.requires_grad_()
    with pytest.raises(TrainingError, match="output head"):
        plain_loss(lm, tiny_examples(lm.bank, 2))


def test_prefix_longer_than_the_window_matters() -> None:
    """The Mistral case above would prove little if no query outgrew the window."""
    bank = tiny_bank(True, "auto")
    window = tiny_model("mistral").config.sliding_window
    assert sum(e.prefix > window for e in tiny_examples(bank, 7)) >= 3


def test_logits_equal_a_resized_model() -> None:
    lm = tiny_lm("gemma2", False, "append")
    ids = tiny_examples(lm.bank, 1)[0].ids
    got = lm.logits(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[0]
    weights = oracles.resized_weights(lm.model, lm.bank, lm.bank.steering.rows(), lm.bank.address.rows())
    torch.testing.assert_close(got, oracles.resized_logits(lm.model, weights, ids), **CLOSE)


def test_an_empty_bank_is_the_backbone() -> None:
    model = tiny_model("gemma3")
    lm = MemoryLM(model, Bank(32, tiny_bank(True, "auto").slots.space))
    ids = torch.tensor([[2, 7, 90, 95, 4]])
    torch.testing.assert_close(lm.logits(ids, torch.ones_like(ids)), model(ids).logits, rtol=0, atol=0)
