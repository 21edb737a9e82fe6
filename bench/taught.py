"""What measurements of skills and tools share: options, courses, one bank for all, a growing result."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokmem.data.lessons.lesson import Lesson
from tokmem.files import atomic_write_json, read_json
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import Ready, prepare, teach
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.records import Example

Row = dict[str, Any]
METHOD = "lesson"


def parser_of(description: str | None, out: Path) -> argparse.ArgumentParser:
    """The options that these measurements share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for what a stopped run goes on with")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser


@dataclass(frozen=True)
class Course:
    """A lesson to learn.

    Attributes:
        backbone: the frozen model.
        lesson: what to learn.
        queries: to learn and to measure on; none: they are made.
        settings: of the lesson.
        training: changes to the training settings.
        work: folder for what a stopped run goes on with.
    """

    backbone: Backbone
    lesson: Lesson
    queries: Sequence[Example]
    settings: LessonSettings
    training: Mapping[str, Any]
    work: Path

    def ready(self, width: int) -> Ready:
        """What the teacher said."""
        memory = empty(self.backbone, width)
        return prepare(memory, self.lesson, self.settings, queries=self.queries, folder=self.work)


def empty(backbone: Backbone, width: int) -> TokMem:
    return TokMem(backbone, prompt="query", start="description", width=width)


def taught(course: Course, memory: TokMem) -> Row:
    """Teaches a memory; its card as a row."""
    own, place = {"queries": course.queries, "training": course.training}, course.work
    card = teach(memory, course.lesson, course.settings, **own, folder=place)
    facts = {name: value for name, value in asdict(card).items() if name not in ("identity", "recipe")}
    return {"method": METHOD, **facts}


def learned_in_one(courses: Sequence[Course], width: int, result: Result) -> TokMem:
    """Teaches all courses to one memory, and saves it after each; skips those of an earlier run."""
    backbone, mark = courses[0].backbone, hashlib.sha256(repr(result.facts).encode()).hexdigest()
    bank = courses[0].work / f"bank-{width}-{mark[:8]}"
    options: Row = {"start": "description", "width": width}
    memory = TokMem.load(bank, backbone, **options) if bank.is_dir() else empty(backbone, width)
    for course in courses:
        if course.lesson.name not in memory:
            result.add(taught(course, memory))
            memory.save(bank)
    return memory


class Result:
    """A result file that grows row by row.

    Args:
        out: the file; lessons of an earlier run stay if it has the same facts.
        facts: what the rows depend on.
        source: provenance.
    """

    def __init__(self, out: Path, facts: Row, source: Row) -> None:
        self.out, self.facts, self.source = out, facts, source
        found = read_json(out, dict, "remove it") if out.is_file() else {"rows": []}
        same = all(found.get(name) == value for name, value in facts.items())
        self.rows: list[Row] = [row for row in found["rows"] if same and row["method"] == METHOD]

    def add(self, row: Row) -> None:
        """Adds a row, or replaces the one of the same key, and writes the file."""
        self.rows = [*(old for old in self.rows if _key(old) != _key(row)), row]
        self.write()

    def write(self, **more: Any) -> None:
        """Writes the file, with further facts of the whole run."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(self.out, {**self.facts, **more, "rows": self.rows, "provenance": self.source})


def _key(row: Row) -> tuple[str | int, ...]:
    return row["method"], row["procedure"], row["tokens"]


def checksum(paths: Iterable[Path]) -> str:
    """SHA-256 of the files' contents, one after the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
