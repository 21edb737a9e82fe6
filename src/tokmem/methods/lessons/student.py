"""The student: a memory whose new steering rows learn the teacher's predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tokmem.bank.init import Start
from tokmem.data.calls.text import CallStyle
from tokmem.data.coerce import ProcedureLike
from tokmem.log import logger
from tokmem.methods.closed import encode_given, learn_taught, reader
from tokmem.methods.counting import ClosedMemory
from tokmem.methods.lessons.settings import BATCH
from tokmem.methods.lessons.teacher import Teacher
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Turn
from tokmem.train.defaults import settled
from tokmem.train.distil import DistilObjective
from tokmem.train.fit import fit
from tokmem.train.parallel import join_processes
from tokmem.train.settings import FitSettings
from tokmem.train.targets import Targets

Objective = Callable[..., DistilObjective]


class Student(ClosedMemory, Protocol):
    """The parts of `TokMem` that teaching uses."""

    given_settings: FitSettings | None
    call_style: CallStyle
    start: Start
    width: int

    def add(self, procedures: ProcedureLike) -> None:
        """Adds a procedure with its starting rows."""


def banned_ids(memory: ClosedMemory) -> list[int]:
    """The ids of the backbone's rows that stand for memory tokens: no teacher predicts them."""
    rows = memory.lm.head.model_rows
    return sorted(i for ids in memory.bank.memory.values() for i in ids if i < rows)


def train_student(
    memory: Student,
    teacher: Teacher,
    train: Sequence[Example],
    targets: Targets,
    training: Mapping[str, Any],
    folder: Path | None,
) -> None:
    """Trains the steering alone and computes the address; or trains both, if addresses are trained.

    Responses that are right, as calls drawn from a schema are, also count by their cross-entropy, with weight
    1 if the settings give none: a teacher that reads the schema may still write poor calls. The end of other
    responses counts so only where the teacher expects it, because some were cut.

    Then, if the settings ask for it, the student answers the queries itself, the teacher says what it would
    have predicted there, and the steering trains by the reverse divergence.

    Args:
        memory: has the new procedure, whose rows are the only trainable ones.
        teacher: has the lesson and its settings.
        train: the queries that teach, with the teacher's responses.
        targets: the teacher's predictions.
        training: changes to the training settings.
        folder: keeps checkpoints.
    """
    own = teacher.settings
    how = settled(memory.given_settings, training, len(train), memory.backbone, batch=BATCH)
    start = memory.bank.steering.fresh.detach().clone() if own.anchor else None
    right = all(example.references == (example.turns[0].response,) for example in train)
    hard, end = own.hard or float(right), None if right else memory.chat.tail[0]
    objective = partial(DistilObjective, targets=targets, hard=hard, end=end, anchor=own.anchor, start=start)
    facts = [asdict(how), memory.bank.memory[teacher.lesson.name], hard, end, own.anchor]
    run = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
    checkpoint = folder / f"checkpoint-{run}" if folder else None
    if memory.bank.statistics is not None:
        learn_taught(memory, teacher.lesson.procedure, train, how, objective, checkpoint)
    else:
        made, encoded = objective(memory.lm, **how.prefixes, seed=how.seed), memory.encoder.encode_all(train)
        fit(made, encoded, how, checkpoint=checkpoint)
    if own.own_epochs:
        again = replace(how, epochs=own.own_epochs, min_steps=0, validate_every=0)
        _train_on_own(memory, teacher, train, again, partial(objective, reverse=True, hard=0.0))


def _train_on_own(
    memory: Student, teacher: Teacher, train: Sequence[Example], how: FitSettings, objective: Objective
) -> None:
    """Trains the steering on sampled responses of the student; addresses stay as they are."""
    name, most = teacher.lesson.name, teacher.settings.max_new_tokens
    recall = RecallSettings(temperature=1.0, max_new_tokens=most, seed=how.seed)

    def said() -> list[str]:
        answers = answer_examples(memory.lm, memory.encoder, train, recall, [[name]] * len(train))
        return [answer.response for answer in answers]

    own = [
        replace(example, turns=(Turn(name, response),))
        for example, response in zip(train, join_processes().value_of_first(said), strict=True)
        if response.strip()
    ]
    if not own:
        logger.warning("the student of %r says nothing: it learns from the teacher's responses alone", name)
        return
    targets = teacher.targets(own, banned_ids(memory))
    made = objective(reader(memory), targets=targets, **how.prefixes, seed=how.seed)
    fit(made, encode_given(memory, own), how)
