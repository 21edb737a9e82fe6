"""Processes for tests. A server does the slow imports once, and every process is forked from it."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import BaseContext

import pytest

# What a run imports. The server may start in any folder, so modules of the tests are not among them.
PRELOADED = ["tokmem.cli.main", "tokmem.tracks.run", "tokmem.tracks.registry", "tokmem.methods.lora"]
PRELOADED += ["rouge_score.rouge_scorer", "transformers.models.llama.modeling_llama", "accelerate", "peft"]


def forked() -> BaseContext:
    """The context of such processes. mutmut spawns them: a server hears of no later change."""
    if "MUTANT_UNDER_TEST" in os.environ:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked; `tests/tracks/test_workers.py` starts them as users do."""
    context = forked()
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
