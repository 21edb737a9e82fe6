"""A bank as a model of lm-evaluation-harness: its tasks see what the memory does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.serving.memorised import CASES
from tokmem.errors import ServingError
from tokmem.methods.tokmem import TokMem
from tokmem.serving import harness
from tokmem.serving.harness import plain, register

TASKS = Path(__file__).parents[2] / "examples/harness"
TEXTS = ("The cat sat on the mat.", "Please call me at five o'clock on Monday.")


def scores(task: str, model: Mapping[str, Any], **options: Any) -> dict[str, float]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    known = TaskManager(include_path=str(TASKS), include_defaults=False)
    given = {"model_args": {**model, "device": "cpu"}, "task_manager": known, "bootstrap_iters": 0}
    made: dict[str, float] = simple_evaluate("tokmem", tasks=[task], **given, **options)["results"][task]
    return made


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data, with the harness installed and nothing fetched."""
    pytest.importorskip("lm_eval")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    register()
    return tmp_path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_plain_text_is_as_likely_as_the_memory_finds_it(stage: Path) -> None:
    memory = TokMem("mini")
    memory.add({"upper": "Writes a text in capitals.", "lower": "Writes a text in small letters."})
    memory.save(stage / "bank")
    write_rows(stage / "text.jsonl", [{"text": text} for text in TEXTS])
    total = 0.0
    for text in TEXTS:
        own = memory.chat.text_ids(text)
        ids = torch.tensor([[memory.chat.bos, *own]])
        logits = memory.lm.logits(ids, torch.ones_like(ids))[0, :-1]
        total += float(logits.log_softmax(-1).gather(1, ids[0, 1:, None]).detach().sum())
    expected = math.exp(-total / sum(len(text.encode()) for text in TEXTS))
    with_bank = scores("tokmem_text", {"bank": str(stage / "bank")})["byte_perplexity,none"]
    alone = scores("tokmem_text", {"backbone": "mini"})["byte_perplexity,none"]
    assert with_bank == pytest.approx(expected, rel=1e-5)
    assert alone < with_bank < 1.001 * alone, "memory tokens take a little of the probability, and no more"


def test_a_free_text_procedure_answers_a_task(
    stage: Path, memory: TokMem, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    case = CASES["free text"]
    row = {
        "query": case.query,
        "turns": [{"procedure": t.procedure, "response": t.response} for t in case.turns],
    }
    wrong = {**row, "turns": [{"procedure": "shout it", "response": "DOG"}]}
    write_rows(stage / "my.jsonl", [row, row, row, wrong])
    model = {"bank": str(home / "bank"), "backbone": str(home / "tiny.gguf")}
    found = scores("tokmem_my", model, apply_chat_template=True)
    assert found["exact_match,none"] == 0.75


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServingError, match="neither bank nor backbone"):
        plain(None, None, "auto", "cpu")
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(ServingError, match="no package lm_eval"):
        register()
