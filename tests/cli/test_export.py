"""`tokmem export`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from transformers import AutoModelForCausalLM

from tests.cli.conftest import Cli
from tokmem.cli.export import Spelled, To
from tokmem.export.spelling import SPELLINGS
from tokmem.export.write import FORMS


def test_a_bank_is_exported_and_checked(cli: Cli, bank: Path, model: Path) -> None:
    done = cli("export", bank, "--to", "hf", "--out", "served", "--backbone", model)
    assert done.exit_code == 0, done.output
    assert "2 procedures in served (hf); logits differ by at most" in done.stdout
    assert AutoModelForCausalLM.from_pretrained("served").config.vocab_size > 0
    done = cli("export", bank, "--to", "hf", "--out", "served", "--no-check", "--backbone", model)
    assert "not checked" in done.stdout, "an older export is replaced"


def test_every_form_has_its_option() -> None:
    assert get_args(To) == tuple(FORMS)
    assert get_args(Spelled) == tuple(SPELLINGS)


def test_a_bank_of_another_backbone_is_refused(cli: Cli, bank: Path) -> None:
    done = cli("export", bank, "--to", "hf", "--out", "served", "--backbone", "mini")
    assert done.exit_code == 2
    assert "backbone" in done.stderr
    assert not Path("served").exists()


def test_mistakes_are_told(cli: Cli, bank: Path, model: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    done = cli("export", bank, "--to", "hf", "--out", "mine", "--backbone", model)
    assert done.exit_code == 2
    assert "holds 'notes.txt'" in done.stderr
    assert cli("export", bank, "--to", "onnx", "--out", "served", "--backbone", model).exit_code == 2
