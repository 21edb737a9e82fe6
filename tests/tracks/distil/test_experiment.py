"""Distillation on `mini`: parts, seeds, resuming, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tokmem.data import Corpus
from tokmem.errors import ConfigError, DataError
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.records import Demonstration, Example, Procedure, Turn
from tokmem.report.results import results_table
from tokmem.tracks.distil import prepare
from tokmem.tracks.distil.config import DistilConfig, LessonConfig, PromptsConfig
from tokmem.tracks.distil.data import prompts_of
from tokmem.tracks.distil.experiment import LEARNERS
from tokmem.tracks.run import carry_out, run
from tokmem.train.settings import FitSettings

CONFIG = DistilConfig(
    data=PromptsConfig(num_tasks=2, train_size=6, test_size=2),
    methods=("lesson", "references+tokens=2+lr=0.01", "lora_r1"),
    tokens=(1, 2),
    seeds=(0, 1),
    lesson=LessonConfig(max_new_tokens=4, start_tries=2),
    training=FitSettings(lr=0.05, batch_size=4),
    lora_lr=0.002,
)
ONE = replace(CONFIG.data, num_tasks=1)
TASKS = ("words_swap_ends_hyphens", "list_reverse_join_and")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("mini")


def test_a_row_for_each_task_method_number_of_tokens_and_seed(backbone: Backbone, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    config = replace(CONFIG, methods=("lesson", "lora_r1+lr=0.01"), tokens=(2,), data=ONE)
    summary = run(config, tmp_path, backbone=backbone)
    keys = ("procedure", "method", "tokens", "seed", "rate")
    assert [tuple(row[key] for key in keys) for row in summary["rows"]] == [
        (TASKS[0], method, tokens, seed, rate)
        for method, tokens, rate in (("lesson", 2, 0.05), ("lora_r1+lr=0.01", 0, 0.01))
        for seed in (0, 1)
    ]
    assert all(row["queries"] == 6 and row["held_out"] == 2 for row in summary["rows"])
    shared = {(row["teacher"], row["no_prompt"], row["kl_no_prompt"]) for row in summary["rows"]}
    assert len(shared) == 1, "seeds and methods share the teacher, and the queries that measure"
    one, other = (row["kl"] for row in summary["rows"] if row["method"] == "lesson")
    assert one != other, "the seed orders the queries"
    assert summary["examples"] == {"train": 6, "test": 2}
    assert [row["method"] for row in results_table(summary).rows] == ["lesson", "lora_r1+lr=0.01"]


def stand_in(monkeypatch: pytest.MonkeyPatch, stop: Sequence[int] = ()) -> list[tuple[str, int]]:
    """Learners that learn nothing, and stop the run at these calls; what they were asked."""
    asked: list[tuple[str, int]] = []

    def learn(course: Any, tokens: int) -> dict[str, Any]:
        asked.append((course.prompt.lesson.name, tokens))
        if len(asked) in stop:
            raise KeyboardInterrupt
        return {"kl": 0.5}

    for name in ("lesson", "references", "lora_r1"):
        monkeypatch.setitem(LEARNERS, name, learn)  # type: ignore[misc]
    return asked


def test_a_stopped_run_goes_on(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch, stop=(4,))
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, tmp_path, backbone=backbone)
    summary = run(CONFIG, tmp_path, resume=True, backbone=backbone)
    assert len(summary["rows"]) == len(asked) - 1 == 16
    assert run(CONFIG, tmp_path, resume=True, backbone=backbone)["rows"] == summary["rows"]
    assert len(asked) == 17


def test_a_process_takes_all_parts_of_a_task(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    jobs: list[Sequence[Sequence[int]]] = []
    experiment = prepare(CONFIG, tmp_path, backbone)
    carry_out(experiment, CONFIG, tmp_path, backbone, spread=jobs.append)
    assert jobs == [[[*range(8)], [*range(8, 16)]]]
    assert len({part.name for part in experiment.parts}) == 16
    found = {
        (part.task, part.label, part.tokens, experiment.config.fit(part.variant, 1).lr)
        for part in experiment.parts
    }
    assert found == {
        (task, *shape)
        for task in TASKS
        for shape in (
            ("lesson", 1, 0.05),
            ("lesson", 2, 0.05),
            ("references+lr=0.01", 2, 0.01),
            ("lora_r1", 0, 0.002),
        )
    }


def test_a_variant_changes_the_lesson() -> None:
    variant = replace(CONFIG, methods=("lesson+hard=0.5+anchor=0.1+own_epochs=2",)).variants[0]
    own = CONFIG.settings(variant, 0.25)
    assert (own.hard, own.anchor, own.own_epochs) == (0.5, 0.1, 2)
    assert (own.held_out, own.max_new_tokens) == (0.25, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("tokmem",)}, "method 'tokmem'"),
        ({"methods": ("lora_r1+tokens=2",)}, "'tokens=2' in method"),
        ({"methods": ("lesson", "lesson+tokens=2")}, "lesson with 2 tokens twice"),
        ({"methods": ("lesson+tokens=0",)}, "tokens 0"),
        ({"methods": ("hard+lr=-1",)}, "lr -1"),
        ({"methods": ("lesson+anchor=-1",)}, "anchor -1"),
        ({"methods": ("lesson+hard=-1",)}, "hard -1"),
        ({"tokens": (0,)}, "tokens"),
        ({"lora_lr": -1.0}, "lora_lr -1"),
        ({"training": FitSettings(seed=3)}, "training.seed 3"),
        ({"data": PromptsConfig(test_size=0)}, "test_size 0"),
    ],
)
def test_configs_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)


def test_lessons_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_new_tokens 0"):
        LessonConfig(max_new_tokens=0)


def test_a_prompt_that_leaves_no_room_is_refused_before_any_training(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch)
    config = replace(CONFIG, lesson=LessonConfig(max_new_tokens=100_000))
    with pytest.raises(DataError, match="a prompt of"):
        run(config, tmp_path, backbone=backbone)
    assert not asked


def corpus(train: Sequence[Example], test: Sequence[Example], description: str = "Shouts.") -> Corpus:
    return Corpus((Procedure("shout", description),), {"shout": train}, {"shout": ()}, {"shout": test})


def example(query: str, instruction: str = "") -> Example:
    shown = (Demonstration("a", "A"),) if instruction else ()
    return Example(query, (Turn("shout", query.upper()),), instruction, demonstrations=shown)


def test_the_prompt_is_instruction_and_demonstrations() -> None:
    (own,) = prompts_of(
        corpus([example("b", "Shout."), example("c", "Shout.")], [example("d", "Shout.")])
    ).values()
    assert (own.lesson.text, own.lesson.demonstrations) == ("Shout.", (Demonstration("a", "A"),))
    assert [(e.query, e.references, e.turns) for e in own.queries] == [(x, (x.upper(),), ()) for x in "bcd"]
    assert own.held_out == pytest.approx(1 / 3)


def test_the_description_stands_for_an_instruction() -> None:
    (own,) = prompts_of(corpus([example("b")], [example("d")])).values()
    assert own.lesson.text == "Shouts."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (corpus([example("b", "Shout.")], [example("d", "Call.")]), "shout: 2 instructions"),
        (corpus([example("b")], [example("d")], ""), "shout: no instructions"),
        (corpus([example("b")], []), "1 training and 0 test examples"),
    ],
)
def test_tasks_that_teach_nothing_are_refused(given: Corpus, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prompts_of(given)
