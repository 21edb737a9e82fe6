"""Memory tokens and an adapter trained together: rates, isolation, and the merge at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_bank, tiny_examples, tiny_model
from tokmem.errors import TrainingError
from tokmem.model.backbone import Backbone, wrap_backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.model.lora import Adapter, LoraSettings
from tokmem.model.memory_lm import MemoryLM
from tokmem.train.adapter import JointObjective
from tokmem.train.fit import fit
from tokmem.train.objective import Piece
from tokmem.train.settings import FitSettings

pytest.importorskip("peft")

SETTINGS = FitSettings(lr=0.02, epochs=2, batch_size=3, checkpoint_every=1)


def joint(
    name: str = "llama", rate: float = 0.5, dropout: float = 0.2, decay: float = 0.01
) -> JointObjective:
    backbone = wrap_backbone(tiny_model(name), None, "tiny")
    adapter = Adapter(backbone, LoraSettings(lora_r=2, lora_alpha=3, lora_dropout=dropout))
    lm = MemoryLM(adapter.model, tiny_bank(True, "auto"))
    return JointObjective(lm, adapter, rate=rate, weight_decay=decay)


def backbone_of(made: JointObjective) -> Backbone:
    return made.lora.adapter.backbone


def rows(made: JointObjective) -> list[torch.Tensor]:
    return [t.detach().clone() for table in made.rows.lm.bank.tables for t in (table.frozen, table.fresh)]


def test_rows_and_adapter_move_and_nothing_else() -> None:
    made = joint()
    before, plain = rows(made), backbone_of(made).fingerprint
    start = [p.detach().clone() for p in made.lora.parameters]
    fit(made, tiny_examples(made.rows.lm.bank, 9), SETTINGS)
    after = rows(made)
    assert torch.equal(before[0], after[0]), "rows of earlier stages"
    assert not torch.equal(before[1], after[1])
    assert all(not torch.equal(a, b) for a, b in zip(start, made.lora.parameters, strict=True))
    assert fingerprint(backbone_of(made).model) == plain


def test_each_moves_at_its_own_rate() -> None:
    """AdamW's first step is as long as the rate, whatever the gradient."""
    made = joint(rate=0.25, dropout=0.0, decay=0.0)
    before = [p.detach().clone() for p in made.parameters]
    one = replace(SETTINGS, epochs=1, batch_size=9, warmup=0.0)
    fit(made, tiny_examples(made.rows.lm.bank, 9), one)
    steps = [float((p.detach() - b).abs().max()) for p, b in zip(made.parameters, before, strict=True)]
    assert steps[0] == pytest.approx(one.lr, rel=1e-3)
    assert max(steps[1:]) == pytest.approx(one.lr * 0.25, rel=1e-3)


def test_the_loss_is_that_of_rows_alone_before_anything_has_moved() -> None:
    made = joint(dropout=0.0)
    examples = tiny_examples(made.rows.lm.bank, 5)
    piece = Piece(examples, examples, range(5), "all", (0, 0))
    ours, alone = next(made.losses([piece])), next(made.rows.losses([piece]))
    assert float(ours.total.detach()) == pytest.approx(float(alone.total.detach()), rel=1e-6)
    with pytest.raises(TrainingError, match="0 examples"):
        made.begin([], [])


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped, resumed = joint(), joint(), joint()
    examples = tiny_examples(whole.rows.lm.bank, 9)
    fit(whole, examples, SETTINGS)
    moved = iter(range(3))
    monkeypatch.setattr(stopped, "after_step", lambda: next(moved))
    with pytest.raises(StopIteration):
        fit(stopped, examples, SETTINGS, checkpoint=tmp_path / "checkpoint")
    fit(resumed, examples, SETTINGS, checkpoint=tmp_path / "checkpoint")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters, resumed.parameters, strict=True))


@pytest.mark.parametrize("name", ["llama-tied", "gpt-neox"])
def test_merged_weights_compute_what_the_adapter_does(name: str) -> None:
    targets = ("query_key_value",) if name == "gpt-neox" else ("q_proj", "v_proj")
    backbone = wrap_backbone(tiny_model(name), None, "tiny")
    adapter = Adapter(backbone, LoraSettings(lora_r=2, target_modules=targets))
    with torch.no_grad():
        for parameter in adapter.parameters:
            parameter.normal_(0, 0.1)
    merged = adapter.merged()
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, adapter.model(ids).logits, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(merged(ids).logits, backbone.model(ids).logits, atol=1e-3)
    assert fingerprint(backbone.model) == backbone.fingerprint
    ours, shared = ({p.data_ptr() for p in m.parameters()} for m in (merged, backbone.model))
    assert not ours & shared, "a copy"
    names = {name for name, _ in backbone.model.named_parameters()}
    assert {name for name, _ in merged.named_parameters()} == names


def test_a_fresh_start_is_drawn_by_its_names() -> None:
    adapter = joint().lora.adapter
    start = [p.detach().clone() for p in adapter.parameters]
    adapter.reset(0, 1)
    assert any(not torch.equal(a, b) for a, b in zip(start, adapter.parameters, strict=True))
    adapter.reset(0)
    assert all(torch.equal(a, b) for a, b in zip(start, adapter.parameters, strict=True))


def test_held_out_examples_are_read_with_rows_and_adapter() -> None:
    made = joint(dropout=0.0)
    held = tiny_examples(made.rows.lm.bank, 4)
    before = [(one.total.item(), one.count) for one in made.validation(held, 2, 4)]
    assert sum(count for _, count in before) == sum(sum(e.supervised) for e in held)
    with torch.no_grad():
        for parameter in made.lora.parameters:
            parameter.add_(0.5)
    after = [one.total.item() for one in made.validation(held, 2, 4)]
    assert sum(after) != pytest.approx(sum(total for total, _ in before), abs=1e-3)
