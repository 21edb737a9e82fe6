"""Adapters of PEFT do what the memory does, or are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from peft import PeftModel
from safetensors import SafetensorError

from tests.export.tiny_memory import KINDS, PROCEDURES, logit_gap, tiny_memory
from tokmem.errors import ExportError, TokMemError
from tokmem.export import export
from tokmem.export.model import shared_copy
from tokmem.export.vocabulary import plan_vocabulary
from tokmem.export.write import FORMS
from tokmem.model.fingerprint import fingerprint

CASES = [
    (form, kind, tied, coupled)
    for form in ("peft", "lora")
    for kind in KINDS
    for tied in (True, False)
    for coupled in (True, False)
    if form == "lora" or coupled or not tied
]


@pytest.mark.parametrize(("form", "kind", "tied", "coupled"), CASES)
def test_logits_are_equal(form: str, kind: str, tied: bool, coupled: bool, tmp_path: Path) -> None:
    memory = tiny_memory(kind, tied=tied, coupled=coupled, policy="spare")
    before = fingerprint(memory.backbone.model)
    FORMS[form].write(memory, plan_vocabulary(memory), tmp_path)
    model = PeftModel.from_pretrained(shared_copy(memory.backbone.model), tmp_path).eval()
    assert logit_gap(memory, model) < 1e-5
    assert fingerprint(memory.backbone.model) == before


@pytest.mark.parametrize("form", ["peft", "lora"])
def test_a_folder_passes_its_own_checks(form: str, tmp_path: Path) -> None:
    memory = tiny_memory(policy="spare", coupled=False)
    made = export(memory, tmp_path / "adapter", to=form)  # type: ignore[arg-type]
    assert made.difference is not None
    assert made.difference < 1e-5
    facts = json.loads((made.folder / "tokmem.json").read_text("utf-8"))
    assert (facts["kind"], facts["fingerprint"]) == (form, memory.backbone.fingerprint)
    size = (made.folder / "adapter_model.safetensors").stat().st_size
    assert size < 60_000 if form == "lora" else size < 2_000


@pytest.mark.parametrize("form", ["peft", "lora"])
def test_a_full_disk_leaves_nothing_behind(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("tokmem.export.adapter.save_file", full)
    with pytest.raises(TokMemError, match="disk full while writing"):
        export(tiny_memory(policy="spare"), tmp_path / "adapter", to=form)  # type: ignore[arg-type]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("form", ["peft", "lora"])
def test_rows_past_the_end_are_refused(form: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="adds none"):
        export(tiny_memory(policy="append"), tmp_path / "adapter", to=form)  # type: ignore[arg-type]


def test_trainable_tokens_of_a_decoupled_bank_on_a_tied_backbone_are_refused(tmp_path: Path) -> None:
    memory = tiny_memory(tied=True, coupled=False, policy="spare")
    with pytest.raises(ExportError, match="one matrix"):
        export(memory, tmp_path / "adapter", to="peft")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("form", ["peft", "lora"])
def test_a_bank_of_one_procedure_is_exported(form: str, tmp_path: Path) -> None:
    memory = tiny_memory(policy="spare", coupled=False, procedures=PROCEDURES[:1])
    made = export(memory, tmp_path / "adapter", to=form)  # type: ignore[arg-type]
    assert made.difference is not None
    assert made.difference < 1e-5
