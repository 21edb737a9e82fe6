"""The skills that ship are well formed; a small measurement of two skills goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import skills, taught
from tokmem.data.lessons.skill import read_skill
from tokmem.data.queries import read_queries

pytest.importorskip("rouge_score")

FOLDER = Path(__file__).parents[2] / "examples/skills"
FOLDERS = sorted(path for path in FOLDER.iterdir() if path.is_dir())
TEXT = "---\nname: {name}\ndescription: {name} things.\n---\n{body}\n"


def test_there_are_ten_skills() -> None:
    assert len(FOLDERS) == 10


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_skill_is_of_a_usual_length_and_has_queries(folder: Path) -> None:
    lesson, queries = read_skill(folder), [example.query for example in read_queries(folder / "queries.txt")]
    assert 300 <= len(lesson.text.split()) <= 1500
    assert 40 <= len(queries) == len(set(queries)) <= 60
    assert not [query for query in queries if query in lesson.text]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    for name, body in (("upper", "Write the text in capital letters."), ("count", "Count the words.")):
        folder = tmp_path / "skills" / name
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_text(TEXT.format(name=name, body=body), "utf-8")
        (folder / "queries.txt").write_text("\n".join(f"{name} {n} {body[n:]}" for n in range(8)), "utf-8")
    place = ("--skills", tmp_path / "skills", "--work", tmp_path / "work", "--out", tmp_path / "result.json")
    small = ("--max-new-tokens", "6", "--epochs", "1", "--queries", "6", "--tokens", "1", "2")
    return [*map(str, place), *("--backbone", "mini", "--dtype", "float32"), *small]


def rows(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text("utf-8"))["rows"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def test_all_skills_go_into_one_bank_for_each_width(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skills.main(options)
    whole = rows(tmp_path / "result.json")
    keys = [(row["method"], row["procedure"], row["tokens"]) for row in whole]
    assert keys == [
        (method, procedure, width)
        for width in (1, 2)
        for method, procedure in (("lesson", "count"), ("lesson", "upper"), ("bank", "2 skills in one bank"))
    ]
    assert all(0 <= row["recalled"] <= row["routing"] <= 100 for row in whole if row["method"] == "bank")
    monkeypatch.setattr(taught, "taught", None)  # nothing is taught again
    skills.main(options)
    assert sorted(map(str, rows(tmp_path / "result.json"))) == sorted(map(str, whole))


def test_lessons_of_other_facts_are_measured_again(tmp_path: Path) -> None:
    out, row = tmp_path / "result.json", {"method": "lesson", "procedure": "upper", "tokens": 1, "kl": 0.5}
    taught.Result(out, {"epochs": 1}, {}).add({**row, "kl": 0.75})
    taught.Result(out, {"epochs": 1}, {}).add(row)
    taught.Result(out, {"epochs": 1}, {}).add({**row, "method": "bank"})
    assert taught.Result(out, {"epochs": 1}, {}).rows == [row], "a lesson replaces an older one of its key"
    assert taught.Result(out, {"epochs": 2}, {}).rows == []
