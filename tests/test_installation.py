from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tokmem.installation import installation


def test_facts_name_versions_space_and_caches_and_no_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    prefixes = home / ".cache/tokmem/prefixes"
    prefixes.mkdir(parents=True)
    (prefixes / "one").write_bytes(bytes(3 * 2**20))
    (prefixes / "link").symlink_to(prefixes / "one")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HF_HOME", str(home / "models"))
    facts = dict(installation())
    assert facts["torch"] == torch.__version__
    assert facts["threads"].startswith(f"{torch.get_num_threads()} in an operation")
    assert torch.backends.cpu.get_cpu_capability() in facts["kernels"]
    assert facts["cache prefixes"] == "~/.cache/tokmem/prefixes, 3 MB"
    assert "HF_HOME=~/models" in facts["variables"]
    assert not [text for text in facts.values() if "somebody" in text]
    assert facts["disk here"].endswith("GB free")
