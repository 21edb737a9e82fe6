"""Teaches procedures by lessons: queries, the teacher's responses, the student, the card.

What is finished is kept in a folder, so that a lesson that was interrupted goes on. Training goes on from its
last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from tokmem.bank.bank import Bank
from tokmem.bank.slots import check_name
from tokmem.data.coerce import as_query
from tokmem.data.fields import take, take_texts
from tokmem.data.lessons.arguments import draw_arguments
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.lessons.sources import read_lessons
from tokmem.data.queries import read_queries
from tokmem.errors import BankError, ConfigError, DataError
from tokmem.files import atomic_write_json, read_json
from tokmem.methods.lessons.card import Card, rouge, saved
from tokmem.methods.lessons.divergence import mean_divergence
from tokmem.methods.lessons.queries import given_queries, make_queries, variety
from tokmem.methods.lessons.settings import FEWEST, LessonSettings
from tokmem.methods.lessons.start import choose_start
from tokmem.methods.lessons.student import Student, banned_ids, train_student
from tokmem.methods.lessons.teacher import Teacher
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Turn
from tokmem.seeds import stream
from tokmem.train.parallel import join_processes
from tokmem.train.settings import NO_MATTER
from tokmem.train.targets import Targets

Sources: TypeAlias = str | Path | Lesson | Sequence[str | Path | Lesson]
Queries: TypeAlias = str | Path | Sequence[str | Example]

_LONGEST = 200  # bytes of a name in the name of a folder; file systems take 255
_NO_PART = re.compile(r"[/\\\x00-\x1f\x7f]")  # what a part of a path cannot hold


def teach(
    memory: Student,
    lesson: Lesson,
    settings: LessonSettings,
    *,
    queries: Sequence[Example] = (),
    training: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Card:
    """Teaches a memory one procedure. Rows of other procedures stay as they are.

    Args:
        memory: gets the new procedure.
        lesson: what to learn.
        settings: how.
        queries: to learn and to measure on; their responses are not read. None makes queries.
        training: changes to the training settings, by name.
        folder: keeps what is finished, to go on with after an interruption.

    Raises:
        BankError: the memory has a procedure of this name.
        ConfigError: its calls are of a style that a teacher does not write.
        DataError: the lesson leaves no room, or there are too few queries or responses.
        TrainingError: training failed.
    """
    started = time.monotonic()
    with _alone(memory.bank, lesson.name):
        ready = prepare(memory, lesson, settings, queries=queries, folder=folder)
        choose_start(memory, lesson.name, lesson.text, ready.train, ready.targets, settings.start_tries)
        train_student(memory, ready.teacher, ready.train, ready.targets, training or {}, ready.place)
    return Card(
        **_card(memory, ready),
        variety=variety([*ready.held, *ready.train]),
        seconds=time.monotonic() - started,
        identity=ready.identity,
        recipe=recipe(memory, training or {}),
    )


@contextmanager
def _alone(bank: Bank, name: str) -> Iterator[None]:
    """Trains one new procedure within the block; what was trainable before is so afterwards.

    A block that fails leaves the bank without the procedure.
    """
    before, trainable = {*bank.names}, bank.fresh_names
    try:
        yield
    except BaseException:
        bank.remove([new for new in bank.names if new == name and new not in before])
        raise
    finally:
        bank.freeze()
        bank.thaw([one for one in trainable if one in bank.names])


@dataclass(frozen=True)
class Ready:
    """What there is before a student learns.

    Attributes:
        teacher: has the lesson.
        held: the queries that measure, with the teacher's responses.
        train: the queries that teach, likewise.
        targets: the teacher's predictions for all of them.
        place: the folder that keeps them, if there is one.
        identity: a digest of what they depend on.
    """

    teacher: Teacher
    held: Sequence[Example]
    train: Sequence[Example]
    targets: Targets
    place: Path | None
    identity: str


def prepare(
    memory: Student,
    lesson: Lesson,
    settings: LessonSettings,
    *,
    queries: Sequence[Example] = (),
    folder: Path | None = None,
) -> Ready:
    """Adds the procedure of a lesson, and lets the teacher answer the queries; takes what a folder keeps.

    Args and errors are those of `teach`.
    """
    if memory.call_style != "plain":
        raise ConfigError(
            f"a lesson for a bank of call_style {memory.call_style}",
            "one of call_style plain",
            "train on calls",
        )
    if lesson.name in memory.bank:
        raise BankError(f"procedure {lesson.name!r} twice", "a new name", "remove or rename the one there is")
    check_name(lesson.name)
    teacher = teacher_of(memory, lesson, settings, queries)
    mark = identity(memory, lesson, settings, queries)
    place = folder / f"{file_name(lesson.name)}-{mark[:8]}" if folder else None
    asked = _stage(place, "queries.json", lesson.name, partial(_queries, memory, lesson, settings, queries))
    answered = _stage(place, "responses.json", lesson.name, lambda: teacher.responses(asked))
    examples = [replace(e, id=f"{lesson.name}/{number}") for number, e in enumerate(answered)]
    held, train = split(examples, settings, lesson.name)
    if memory.bank.statistics is None:
        memory.bank.freeze()
    memory.add(lesson.procedure)
    targets = _targets(memory, teacher, examples, place, mark)
    return Ready(teacher, held, train, targets, place, mark)


def teacher_of(
    memory: Student, lesson: Lesson, settings: LessonSettings, queries: Sequence[Example] = ()
) -> Teacher:
    """Makes the teacher of a lesson, and refuses at once what could not be taught after long work.

    Args:
        memory: has the backbone.
        lesson: what to teach.
        settings: how.
        queries: those that are given; none if they are to be made.

    Raises:
        DataError: the lesson or a query leaves no room, or no arguments of a tool can be drawn.
    """
    teacher = Teacher(memory.backbone, memory.chat, lesson, settings)
    if queries:
        teacher.check(_plain(memory, queries))
    elif lesson.is_tool:
        draw_arguments(lesson.procedure, stream(settings.seed, "try", lesson.name))
    return teacher


def teach_all(memory: Student, sources: Sources, queries: Queries, changes: Mapping[str, Any]) -> list[Card]:
    """Teaches the lessons of several sources, one after the other.

    Args:
        memory: gets the new procedures.
        sources: what `read_lessons` takes, or lessons.
        queries: of all lessons, or the path of a file of them; without any they are made.
        changes: to the settings of lessons, and to those of training; both take the seed.

    Raises:
        ConfigError: there is no such setting.
        DataError: the queries cannot be read.
        TokMemError: as `teach`.
    """
    given = [sources] if isinstance(sources, str | Path | Lesson) else list(sources)
    lessons = [one for own in given for one in ([own] if isinstance(own, Lesson) else read_lessons([own]))]
    own = {field.name for field in fields(LessonSettings)}
    settings = LessonSettings(**{name: value for name, value in changes.items() if name in own})
    training = {name: value for name, value in changes.items() if name not in own or name == "seed"}
    listed = read_queries(Path(queries)) if isinstance(queries, str | Path) else queries
    asked = [as_query(query) for query in listed]
    return [teach(memory, lesson, settings, queries=asked, training=training) for lesson in lessons]


def identity(
    memory: Student, lesson: Lesson, settings: LessonSettings, queries: Sequence[Example] = ()
) -> str:
    """A digest of what a lesson's queries, responses and targets depend on."""
    of = {
        "lesson": asdict(replace(lesson, source="")),
        "settings": asdict(settings),
        "queries": [_row(replace(e, query=_prompted(memory, e))) for e in queries],
        "backbone": memory.backbone.fingerprint,
        "chat": memory.chat.fingerprint,
        "prompt": memory.prompt,
    }
    return _digest(of)


def recipe(memory: Student, training: Mapping[str, Any]) -> str:
    """A digest of how a memory learns a lesson: changes to the training settings, the start, the width."""
    changes = {name: value for name, value in training.items() if name not in NO_MATTER}
    return _digest({"training": changes, "start": memory.start, "width": memory.width})


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _queries(
    memory: Student, lesson: Lesson, settings: LessonSettings, queries: Sequence[Example]
) -> list[Example]:
    if not queries:
        return make_queries(lesson, memory.backbone, memory.chat, settings)
    return given_queries(_plain(memory, queries), lesson)


def _plain(memory: Student, queries: Sequence[Example]) -> list[Example]:
    """Gives each query the text that the student's prompt has for it."""
    return [Example(_prompted(memory, e), references=e.references) for e in queries]


def _prompted(memory: Student, query: Example) -> str:
    """Returns the text that the student's prompt has for a query."""
    return memory.encoder.user_text(query.instruction, query.query)


def file_name(name: str) -> str:
    """A name that is one part of a path, of at most `_LONGEST` bytes."""
    short = name.encode(errors="ignore")[:_LONGEST].decode(errors="ignore")
    return _NO_PART.sub("_", short)


def _stage(
    folder: Path | None, file: str, procedure: str, make: Callable[[], list[Example]]
) -> list[Example]:
    """Examples that an earlier call has kept, or that the first process makes and keeps."""
    path = folder / file if folder else None

    def rows() -> list[dict[str, Any]]:
        if path is not None and path.is_file():
            return list(read_json(path, list, "remove it"))
        made = [_row(example) for example in make()]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(path, made)
        return made

    found = join_processes().value_of_first(rows)
    if len(found) < FEWEST:  # somebody changed the file
        raise DataError(f"{path or file}: {len(found)} queries", f"at least {FEWEST}", "remove it")
    return [_example(row, procedure, str(path or file)) for row in found]


def _row(example: Example) -> dict[str, Any]:
    responses = [turn.response for turn in example.turns]
    return {"query": example.query, "responses": responses, "references": list(example.references)}


def _example(row: dict[str, Any], procedure: str, where: str) -> Example:
    turns = tuple(Turn(procedure, text) for text in take_texts(row, "responses", where))
    return Example(take(row, "query", str, where), turns, references=take_texts(row, "references", where))


def split(
    examples: Sequence[Example], settings: LessonSettings, name: str
) -> tuple[list[Example], list[Example]]:
    """Divides the queries of a lesson by chance: those that measure, and those that teach.

    Args:
        examples: the queries, with responses.
        settings: the share that measures, and the seed.
        name: of the lesson.
    """
    count = max(1, round(settings.held_out * len(examples)))
    chosen = {*stream(settings.seed, "held out", name).sample(range(len(examples)), count)}
    parts = [[e for i, e in enumerate(examples) if (i in chosen) is held] for held in (True, False)]
    return parts[0], parts[1]


def _targets(
    memory: Student, teacher: Teacher, examples: Sequence[Example], folder: Path | None, mark: str
) -> Targets:
    """The teacher's predictions; ids that stand for memory tokens get no probability."""
    banned = banned_ids(memory)
    path = folder / "targets.safetensors" if folder else None
    with join_processes().in_turn():  # the others read what the first one keeps
        found = Targets.load(path, f"{mark} {banned}") if path else None
        if found is None:
            found = teacher.targets(examples, banned)
            if path is not None:
                found.save(path, f"{mark} {banned}")
    return found


def compared(
    memory: Student, ready: Ready, answers: Sequence[Answer], kl: float, tokens: int
) -> dict[str, Any]:
    """Measures a student beside its teacher, and beside the model with the query alone.

    Args:
        memory: the one that `prepare` was given.
        ready: what it returned.
        answers: the student's, to the held-out queries.
        kl: the divergence of the student from the teacher.
        tokens: memory tokens of a prompt, which the answers' own prompt tokens leave out.
    """
    held, teacher = ready.held, ready.teacher
    reader, alone = teacher.answers(held, greedy=True), teacher.answers(held, reads=False, greedy=True)
    right = [answer.text for answer in reader]
    return {
        "teacher": rouge(held, right, reader),
        "student": rouge(held, right, answers),
        "no_prompt": rouge(held, right, alone),
        "measured_by": "references" if all(e.references for e in held) else "teacher",
        "kl": kl,
        "kl_no_prompt": mean_divergence(memory, held, ready.targets, alone=True),
        "queries": len(ready.train),
        "held_out": len(held),
        "saved_tokens": saved(reader, answers, tokens),
    }


def _card(memory: Student, ready: Ready) -> dict[str, Any]:
    """What held-out queries measure."""
    name, held = ready.teacher.lesson.name, ready.held
    recall = RecallSettings(max_new_tokens=ready.teacher.settings.max_new_tokens)
    answers = answer_examples(memory.lm, memory.encoder, held, recall, [[name]] * len(held))
    kl, tokens = mean_divergence(memory, held, ready.targets), len(memory.bank.memory[name])
    routing = 100 * fmean(_routed(answer, name) for answer in answers)
    facts = {"procedure": name, "tokens": tokens, "routing": routing}
    return facts | compared(memory, ready, answers, kl, tokens)


def _routed(answer: Answer, name: str) -> bool:
    return answer.route is not None and answer.route.procedure == name
