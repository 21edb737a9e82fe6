"""The mean of two states of one backbone, as a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretraining.average import average


def state(folder: Path, value: float, tokenizer: str = "{}", size: int = 3, earlier: int = 0) -> Path:
    folder.mkdir()
    save_file({"w": torch.full((size,), value, dtype=torch.bfloat16)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer)
    facts = {"tokens": 10, "earlier": {"tokens": earlier}}
    (folder / "training.json").write_text(json.dumps(facts))
    return folder


def test_average(tmp_path: Path) -> None:
    first, second = state(tmp_path / "a", 1.0), state(tmp_path / "b", 2.0, earlier=10)
    for _ in range(2):  # an earlier mean is replaced
        average(first, second, tmp_path / "mean")
    mean = load_file(tmp_path / "mean/model.safetensors")
    assert torch.equal(mean["w"], torch.full((3,), 1.5, dtype=torch.bfloat16))
    facts = json.loads((tmp_path / "mean/training.json").read_text())
    assert facts == {"tokens": 10, "earlier": {"tokens": 10}, "averaged_with_tokens": 10}
    assert torch.equal(load_file(first / "model.safetensors")["w"], torch.ones(3, dtype=torch.bfloat16))
    with pytest.raises(SystemExit, match="other tensors"):
        average(first, state(tmp_path / "c", 1.0, size=4), tmp_path / "mean")
    with pytest.raises(SystemExit, match="other tokenizers"):
        average(first, state(tmp_path / "d", 1.0, tokenizer="[]"), tmp_path / "mean")
