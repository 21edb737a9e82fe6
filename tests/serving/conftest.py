"""A memory whose answers are sure, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import _logger_as_it_was, cli
from tests.serving.memorised import memorised
from tokmem.methods.tokmem import TokMem

__all__ = ["_logger_as_it_was", "cli"]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memorised")


@pytest.fixture(scope="session")
def memory(home: Path) -> TokMem:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        made = memorised(home)
    made.save(home / "bank")
    return made
