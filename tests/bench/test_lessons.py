"""Every way to learn a lesson runs on `mini`; losses of other libraries' modules equal plain formulas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.lesson_methods import (
    METHODS,
    AdapterDistillation,
    Course,
    PromptDistillation,
    Result,
    measure_courses,
    wanted,
)
from tokmem.data.lessons.lesson import Lesson
from tokmem.methods.lessons.divergence import mean_loss
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lora import LoRA
from tokmem.methods.peft_prompts import PeftPrompt
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.records import Example, Procedure
from tokmem.train.fit import fit
from tokmem.train.settings import FitSettings
from tokmem.train.targets import Targets

pytest.importorskip("peft")
pytest.importorskip("rouge_score")

TEXTS = ("France", "a country", "Today", "Italy", "a river", "Japan", "Peru", "Chad")
QUERIES = [Example(text, references=(text.upper(),)) for text in TEXTS]
UPPER = Lesson(Procedure("upper", "Capitals."), "Write the text in capital letters.")
SETTINGS = LessonSettings(max_new_tokens=6, held_out=0.25, start_tries=2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("mini")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def course(backbone: Backbone, work: Path, epochs: int = 2) -> Course:
    return Course(backbone, UPPER, QUERIES, SETTINGS, {"epochs": epochs, "batch_size": 3}, work)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_measures_the_same_queries(backbone: Backbone, work: Path, method: str) -> None:
    weights = fingerprint(backbone.model)
    ((_, tokens), *_) = wanted([method], [2])
    row = METHODS[method](course(backbone, work), tokens)
    assert (row["method"], row["tokens"], row["procedure"]) == (method, tokens, "upper")
    assert (row["queries"], row["held_out"]) == (6, 2)
    assert 0 < row["kl"] < 20
    assert 0 <= row["student"] <= 100
    assert fingerprint(backbone.model) == weights


def test_training_lowers_the_divergences(backbone: Backbone, work: Path) -> None:
    _, ready = course(backbone, work).ready(1)
    prompt, adapter = PeftPrompt(backbone, "prompt_tuning", prompt="query"), LoRA(backbone, prompt="query")
    train = [prompt.encoder.encode_plain(e) for e in ready.train]
    for objective, lr in (
        (PromptDistillation(prompt, ready.targets), 0.05),
        (AdapterDistillation(adapter, ready.targets), 0.005),
    ):
        before = mean_loss(objective, train)
        fit(objective, train, FitSettings(epochs=10, lr=lr))
        assert mean_loss(objective, train) < 0.8 * before


def test_the_divergences_equal_the_formula(backbone: Backbone, work: Path) -> None:
    _, ready = course(backbone, work).ready(1)
    prompt = PeftPrompt(backbone, "prompt_tuning", width=2, prompt="query")
    adapter = LoRA(backbone, prompt="query")
    held = [prompt.encoder.encode_plain(e) for e in ready.held]
    with torch.no_grad():
        logits = prompt.logits(held)[0]
        plain = torch.cat([backbone.model(torch.tensor([e.ids])).logits[0, :-1] for e in held])
        supervised = torch.tensor([on for e in held for on in e.supervised[1:]])
        for objective, own in (
            (PromptDistillation(prompt, ready.targets), logits),
            (AdapterDistillation(adapter, ready.targets), plain[supervised]),  # B is zero at the start
        ):
            loss = objective.response_loss(held)
            assert loss.count == len(own)
            assert float(loss.total) == pytest.approx(formula(own, ready.targets, held), rel=1e-4)


def formula(logits: torch.Tensor, targets: Targets, held: Any) -> float:
    """The divergence, row after row."""
    rows = [row for e in held for row in targets.rows(e.id)]
    total = 0.0
    for own, row in zip(logits.double().softmax(1), rows, strict=True):
        p, rest = targets.logs[row].double().exp(), targets.rest[row].double().exp()
        q = own[targets.ids[row].long()]
        total += float((p * (p / q).log()).sum() + rest * (rest / (1 - q.sum())).log())
    return total


def test_a_stopped_measurement_goes_on(
    backbone: Backbone, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []

    def maker(course: Course, tokens: int, method: str) -> dict[str, Any]:
        made.append((method, tokens))
        return {"method": method, "tokens": tokens, "procedure": course.lesson.name}

    for name in ("lesson", "lora_r1"):
        monkeypatch.setitem(METHODS, name, lambda c, t, name=name: maker(c, t, name))  # type: ignore[misc]
    out, one = tmp_path / "result.json", course(backbone, work)
    two = replace(one, lesson=replace(UPPER, procedure=Procedure("lower")))
    measure_courses([one], wanted(["lesson"], [1, 8]), Result(out, {"facts": 1}, {}))
    measure_courses([one, two], wanted(["lesson", "lora_r1"], [1, 8]), Result(out, {"facts": 1}, {}))
    assert made == [
        ("lesson", 1),
        ("lesson", 8),
        ("lora_r1", 0),
        ("lesson", 1),
        ("lesson", 8),
        ("lora_r1", 0),
    ]
    assert len(json.loads(out.read_text("utf-8"))["rows"]) == 6
    measure_courses([one], wanted(["lora_r1"], [1]), Result(out, {"facts": 2}, {}))
    assert len(json.loads(out.read_text("utf-8"))["rows"]) == 1, "other facts, another result"
