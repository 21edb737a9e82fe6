"""Every way to learn a lesson runs on `mini`; losses of other libraries' modules equal plain formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tokmem.data.lessons.lesson import Lesson
from tokmem.methods.lessons.divergence import mean_loss
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import Ready
from tokmem.methods.lora import LoRA
from tokmem.methods.peft_prompts import PeftPrompt
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.records import Example, Procedure, Turn
from tokmem.tracks.distil.config import METHODS, RANKS
from tokmem.tracks.distil.data import Prompt
from tokmem.tracks.distil.learners import LEARNERS, Course, _uncut, _with_references
from tokmem.tracks.distil.objectives import AdapterDistillation, PromptDistillation
from tokmem.train.fit import fit
from tokmem.train.settings import FitSettings
from tokmem.train.targets import Targets

pytest.importorskip("peft")

TEXTS = ("France", "a country", "Today", "Italy", "a river", "Japan", "Peru", "Chad")
QUERIES = [Example(text, references=(text.upper(),)) for text in TEXTS]
UPPER = Lesson(Procedure("upper", "Capitals."), "Write the text in capital letters.")
SETTINGS = LessonSettings(max_new_tokens=6, held_out=0.25, start_tries=2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("mini")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teachers")


def course(backbone: Backbone, teachers: Path, out: Path) -> Course:
    how = FitSettings(lr=0.05, epochs=2, batch_size=3)
    return Course(backbone, Prompt(UPPER, QUERIES, 0.25), SETTINGS, how, teachers, out / "checkpoint")


def ready(backbone: Backbone, teachers: Path) -> Ready:
    one = course(backbone, teachers, teachers)
    return one.ready(one.memory(1))


def test_every_method_can_be_learned() -> None:
    assert LEARNERS.keys() == METHODS.keys()


@pytest.mark.parametrize("method", LEARNERS)
def test_each_method_measures_the_same_queries(
    backbone: Backbone, teachers: Path, tmp_path: Path, method: str
) -> None:
    weights, tokens = fingerprint(backbone.model), 0 if method in RANKS else 2
    row = LEARNERS[method](course(backbone, teachers, tmp_path), tokens)
    assert (row["queries"], row["held_out"], row["measured_by"]) == (6, 2, "references")
    assert 0 < row["kl"] < 20
    assert all(0 <= row[name] <= 100 for name in ("teacher", "student", "no_prompt"))
    prompt = len(backbone.tokenizer(UPPER.text)["input_ids"])
    assert prompt - tokens <= row["saved_tokens"] <= prompt - tokens + 2  # and what parts text and query
    if tokens:
        assert row["trainable_parameters"] == tokens * backbone.dim
    assert fingerprint(backbone.model) == weights
    assert len([*teachers.iterdir()]) == 1, "all methods share what the teacher said"


def test_labels_and_cut_responses(backbone: Backbone, teachers: Path) -> None:
    memory = course(backbone, teachers, teachers).memory(1)
    short, cut = (Example(text, (Turn("upper", text),), references=("A", "B")) for text in ("a", "a b c d e"))
    assert [e.turns for e in _with_references([cut])] == [(Turn("upper", "A"),)]
    most = len(memory.chat.text_ids("a b c d e"))
    assert _uncut(memory, [short, cut], most) == [short]
    assert _uncut(memory, [cut], most) == [cut], "better than none"


def test_training_lowers_the_divergences(backbone: Backbone, teachers: Path) -> None:
    own = ready(backbone, teachers)
    prompt, adapter = PeftPrompt(backbone, "prompt_tuning", prompt="query"), LoRA(backbone, prompt="query")
    train = [prompt.encoder.encode_plain(e) for e in own.train]
    for objective, lr in (
        (PromptDistillation(prompt, own.targets), 0.05),
        (AdapterDistillation(adapter, own.targets), 0.005),
    ):
        before = mean_loss(objective, train)
        fit(objective, train, FitSettings(epochs=10, lr=lr))
        assert mean_loss(objective, train) < 0.8 * before


def test_the_divergences_equal_the_formula(backbone: Backbone, teachers: Path) -> None:
    own = ready(backbone, teachers)
    prompt = PeftPrompt(backbone, "prompt_tuning", width=2, prompt="query")
    adapter = LoRA(backbone, prompt="query")
    held = [prompt.encoder.encode_plain(e) for e in own.held]
    with torch.no_grad():
        logits = prompt.logits(held)[0]
        plain = torch.cat([backbone.model(torch.tensor([e.ids])).logits[0, :-1] for e in held])
        supervised = torch.tensor([on for e in held for on in e.supervised[1:]])
        for objective, said in (
            (PromptDistillation(prompt, own.targets), logits),
            (AdapterDistillation(adapter, own.targets), plain[supervised]),  # B is zero at the start
        ):
            loss = objective.response_loss(held)
            assert loss.count == len(said)
            assert float(loss.total) == pytest.approx(formula(said, own.targets, held), rel=1e-4)


def formula(logits: torch.Tensor, targets: Targets, held: Any) -> float:
    """The divergence, row after row."""
    rows = [row for e in held for row in targets.rows(e.id)]
    total = 0.0
    for own, row in zip(logits.double().softmax(1), rows, strict=True):
        p, rest = targets.logs[row].double().exp(), targets.rest[row].double().exp()
        q = own[targets.ids[row].long()]
        total += float((p * (p / q).log()).sum() + rest * (rest / (1 - q.sum())).log())
    return total
