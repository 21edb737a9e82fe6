from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench import gpu
from tools.update_tables import gpu_table


def test_arithmetic_counts_a_backward_pass_where_there_is_a_graph() -> None:
    assert gpu.arithmetic(10, prompt=3, rest=2, graph=False) == 10 * 2 * 5
    assert gpu.arithmetic(10, prompt=3, rest=2, graph=True) == 10 * (2 * 3 + 4 * 2)


def test_every_part_is_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "COPIED", 2**20)
    monkeypatch.setattr(gpu, "PRODUCT", 1024)
    out = tmp_path / "gpu.json"
    sizes = ("--batch", "2", "--examples", "4", "--recalled", "4", "--most", "4")
    gpu.main(["--backbone", "mini", *sizes, "--device", "cpu", "--dtype", "float32", "--out", str(out)])
    found = json.loads(out.read_text())
    names = ["plain", "peft", "bare forward", "tokmem, one epoch", "tokmem, three epochs"]
    assert [row["name"] for row in found["rows"]] == names
    assert all(row["share_of_peak"] > 0 and row["tokens_per_second"] > 0 for row in found["rows"])
    assert [row["memory_tokens"] for row in found["banks"]] == list(gpu.BANKS)
    assert [row["identical"] for row in found["recall"]] == [1.0, 1.0, 1.0]
    assert found["agreement"]["mini"]["plain"]["gradient"] < 1e-3
    assert found["left_out"] == []
    found["rows"].append({"backbone": "mini", "batch": 2, "name": "plain, out of memory"})
    table = gpu_table(found, recall=False).markdown()
    assert "| mini | 2 | peft |" in table
    assert "| mini | 2 | plain, out of memory | - |" in table


def test_a_part_that_does_not_fit_is_named_and_left_out() -> None:
    def work() -> list[dict[str, object]]:
        raise torch.OutOfMemoryError("out")

    found: dict[str, list[object]] = {"rows": [], "left_out": []}
    gpu.attempt(found, "rows", "8B, batch 16", work)
    assert found == {"rows": [], "left_out": ["rows of 8B, batch 16: out of memory"]}
