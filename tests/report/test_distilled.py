"""Distillation results in tables and on the page: means over tasks, and the spread over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.summaries import NASTY, single
from tests.report.test_page import Page
from tokmem.errors import DataError
from tokmem.report.distilled import TASKS, lines_table, mean_lines, task_lines
from tokmem.report.page import page_sections, write_page
from tokmem.report.results import results_table


def row(method: str, task: str, tokens: int, seed: int, student: float) -> dict[str, Any]:
    return {
        "method": method,
        "procedure": task,
        "tokens": tokens,
        "seed": seed,
        "teacher": 40.0 if task == NASTY else 20.0,
        "student": student,
        "no_prompt": 10.0,
        "measured_by": "references",
        "kl": student / 100,
        "kl_no_prompt": 1.5,
        "saved_tokens": 400.0 - tokens,
        "trainable_parameters": 576 * tokens,
        "seconds": 60.0,
    }


ROWS = [
    row(method, task, tokens, seed, score + seed * 2)
    for method, tokens, scores in (
        ("lesson", 1, (37.0, 14.0)),
        ("lesson", 8, (39.0, 20.0)),
        ("lora_r1", 0, (40.0, 18.0)),
    )
    for task, score in zip((NASTY, "b"), scores, strict=True)
    for seed in (0, 1)
]


def distilled() -> dict[str, Any]:
    facts = {"backbone": "mini", "examples": {"train": 4, "test": 4}, "provenance": {"seed": 0}}
    return {"name": "prompts", "track": "distil", "rows": ROWS, "procedures": [NASTY, "b"], **facts}


def test_the_table_has_means_over_tasks_and_the_spread_over_seeds() -> None:
    lines = results_table(distilled()).markdown().splitlines()
    assert lines[2:] == [
        "| lesson | 1 | 1 of 2 tasks | 30.0 | 26.5 ± 1.4 | 10.0 | 0.27 ± 0.01 | 1.50 | 399 | 576 | 60 |",
        "| lesson | 8 | 2 of 2 tasks | 30.0 | 30.5 ± 1.4 | 10.0 | 0.30 ± 0.01 | 1.50 | 392 | 4,608 | 60 |",
        "| lora_r1 | 0 | 2 of 2 tasks | 30.0 | 30.0 ± 1.4 | 10.0 | 0.30 ± 0.01 | 1.50 | 400 | 0 | 60 |",
    ]


def test_a_task_has_means_over_seeds() -> None:
    lines = lines_table(task_lines(ROWS[:4]), TASKS).markdown().splitlines()
    assert [line.split(" | ")[-6:-3] for line in lines[2:]] == [
        ["40.0", "38.0", "10.0"],
        ["20.0", "15.0", "10.0"],
    ]


def test_rows_without_a_teacher_are_shown() -> None:
    known = ("method", "procedure", "tokens", "seed", "student", "kl")
    (line,) = mean_lines([{name: one[name] for name in known} for one in ROWS[:1]])
    assert (line["student"], line["kept"], line["teacher"]) == (37.0, None, None)


def test_nothing_is_kept_of_a_teacher_that_scores_nothing() -> None:
    (line,) = mean_lines([{**ROWS[0], "teacher": 0.0, "student": 0.0}])
    assert line["kept"] == "0 of 1 tasks"


def test_the_page_shows_means_curves_and_tasks(tmp_path: Path) -> None:
    page = Page(write_page([distilled(), single()], tmp_path))
    rows = page.rows()
    assert ["lesson", "8", "2 of 2 tasks", "30.0", "30.5 ± 1.4"] in [found[:5] for found in rows]
    assert [NASTY, "lesson", "1", "40.0", "38.0"] in [found[:5] for found in rows]
    assert {path.stem for path in (tmp_path / "plots").glob("prompts-*.png")} == {
        "prompts-prompts-student",
        "prompts-prompts-kl",
    }
    text = (tmp_path / "index.html").read_text("utf-8")
    assert "teacher: 30.0 at 1, 30.0 at 8; no prompt: 10.0 at 1, 10.0 at 8" in text, "beside the students"


def test_one_number_of_tokens_makes_no_curve() -> None:
    (section,) = (s for s in page_sections([distilled() | {"rows": ROWS[:4]}]) if s.id == "prompts")
    assert not section.plots


@pytest.mark.parametrize("name", ["procedure", "tokens"])
def test_a_row_without_its_key_is_refused(name: str) -> None:
    broken = {key: value for key, value in ROWS[0].items() if key != name}
    with pytest.raises(DataError, match="a row with its procedure and a whole number of tokens"):
        page_sections([distilled() | {"rows": [broken]}])
