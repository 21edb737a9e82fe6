"""A measurement that is small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.tiny_chat import QWEN, tiny_tokenizer

SMALL = (
    *("--backbone", "random"),
    *("--layers", "2", "--hidden", "32", "--heads", "4", "--kv-heads", "2", "--intermediate", "48"),
    *("--vocab", "500", "--procedures", "9", "--dtype", "float32", "--steps", "2", "--max-length", "2048"),
)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("TOKMEM_SNI_DIR", raising=False)
    tiny_tokenizer(QWEN).save_pretrained(tmp_path / "tokenizer")
    return [*SMALL, "--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "result.json")]
