from __future__ import annotations

import pytest
import torch

from tests.tiny import tiny_examples, tiny_lm
from tests.train.shared import fit_bank
from tokmem.train.settings import FitSettings


@pytest.mark.parametrize("frozen_prefix", [True, False], ids=["frozen-prefix", "plain"])
@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
def test_only_fresh_rows_move(coupled: bool, frozen_prefix: bool) -> None:
    lm = tiny_lm("llama-tied", coupled, width=2)
    model = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    tables = [table.rows() for table in lm.bank.tables]
    settings = FitSettings(lr=0.05, weight_decay=0.5, epochs=2, frozen_prefix=frozen_prefix)
    fit_bank(lm, tiny_examples(lm.bank, 12), settings)
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(tensor, model[name]), name
    first = len(lm.bank.steering.frozen)
    for table, before in zip(lm.bank.tables, tables, strict=True):
        after = table.rows()
        assert torch.equal(after[:first], before[:first])
        assert (after[lm.bank.head_slots[2:]] != before[lm.bank.head_slots[2:]]).all()
    assert (lm.bank.steering.rows()[first:] != tables[-1][first:]).all()
    if not coupled:
        later = [slot for slot in range(10) if slot not in lm.bank.head_slots.tolist()]
        assert not lm.bank.address.rows()[later].any()


def test_a_second_stage_leaves_the_first_bit_equal() -> None:
    lm = tiny_lm("llama", False, frozen=0)
    examples = tiny_examples(lm.bank, 8)
    fit_bank(lm, examples, FitSettings(lr=0.05))
    lm.bank.freeze()
    before = [table.rows() for table in lm.bank.tables]
    other = tiny_lm("llama", False, frozen=0, fresh=2, seed=3).bank
    for name in other.names:
        other.rename(name, f"late {name}")
    lm.bank.merge(other)
    fit_bank(lm, tiny_examples(lm.bank, 8), FitSettings(lr=0.05, weight_decay=0.1, epochs=2))
    for table, rows in zip(lm.bank.tables, before, strict=True):
        assert torch.equal(table.rows()[:3], rows)
        assert not torch.equal(table.rows()[3:], other.tables[lm.bank.tables.index(table)].rows())
