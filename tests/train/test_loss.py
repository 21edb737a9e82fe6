"""Compares sums of losses with logits that are written out."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import DIM, VOCAB, tiny_lm
from tokmem.train import loss
from tokmem.train.loss import memory_loss


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("memories", [0, 1, 3])
def test_memory_positions_are_counted_and_summed(coupled: bool, memories: int) -> None:
    lm = tiny_lm("llama", coupled, width=2)
    heads, later = lm.bank.head_ids.tolist(), lm.bank.slot_ids.tolist()[1]
    assert later not in heads
    hidden, targets = torch.randn(5, DIM), torch.tensor([*heads[:memories], 5, 40, 60, 70, 80][:5])
    got = memory_loss(lm.head, hidden, targets)
    frozen = lm.head.frozen(hidden)
    frozen[:, lm.head.replaced(VOCAB)] = -torch.inf
    logits = torch.cat([frozen, lm.head.memory(hidden)], 1)
    columns = torch.tensor([VOCAB + heads.index(i) if i in heads else i for i in targets.tolist()])
    losses = torch.nn.functional.cross_entropy(logits, columns, reduction="none")
    torch.testing.assert_close(got.total, losses.sum())
    torch.testing.assert_close(got.memory, losses[:memories].sum())
    assert (got.count, int(got.memory_count)) == (5, memories)
    assert not got.memory.requires_grad


def test_states_get_the_gradient_of_cross_entropy_also_through_token_zero() -> None:
    lm = tiny_lm("llama", True)
    hidden = torch.randn(4, DIM, requires_grad=True)
    targets = torch.tensor([0, 1, 40, lm.bank.head_ids[0]])
    (got,) = torch.autograd.grad(memory_loss(lm.head, hidden, targets).total, hidden)
    gone = torch.zeros(VOCAB, dtype=torch.bool)
    gone[lm.head.replaced(VOCAB)] = True
    logits = torch.cat([lm.head.frozen(hidden).masked_fill(gone, -torch.inf), lm.head.memory(hidden)], 1)
    columns = torch.tensor([0, 1, 40, VOCAB])
    wanted = torch.nn.functional.cross_entropy(logits, columns, reduction="sum")
    torch.testing.assert_close(got, *torch.autograd.grad(wanted, hidden))


def test_a_cpu_reads_the_head_in_parts_that_stay_in_its_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CPU_LOGITS", 60)
    monkeypatch.setattr(loss, "LEAST_PART", 1)
    lm = tiny_lm("llama")
    part, sizes = lm.head.part, list[int]()

    def counted(hidden: torch.Tensor, rows: slice | torch.Tensor) -> torch.Tensor:
        logits = part(hidden, rows)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(lm.head, "part", counted)
    with torch.no_grad():
        memory_loss(lm.head, torch.randn(4, DIM), torch.tensor([5, 40, 60, 70]))
    assert sum(sizes) == 4 * VOCAB
    assert max(sizes) == 60
