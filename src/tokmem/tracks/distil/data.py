"""The prompts of tasks as lessons, with the queries of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokmem.data import Corpus
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import DataError
from tokmem.records import Example, Procedure


@dataclass(frozen=True)
class Prompt:
    """A task's prompt, and what it is asked.

    Attributes:
        lesson: the instruction with its demonstrations.
        queries: inputs of the task; their references measure, and `references` alone learns from them.
        held_out: share of the queries that measure.
    """

    lesson: Lesson
    queries: Sequence[Example]
    held_out: float


def prompts_of(corpus: Corpus) -> dict[str, Prompt]:
    """The prompts of all tasks of a corpus, by name.

    Raises:
        DataError: a task has no text that a teacher could read, or several; or too few queries.
    """
    return {one.name: _prompt(one, corpus) for one in corpus.procedures}


def _prompt(procedure: Procedure, corpus: Corpus) -> Prompt:
    name = procedure.name
    train, test = corpus.train[name], corpus.test[name]
    if not train or not test:
        raise DataError(f"{name}: {len(train)} training and {len(test)} test examples", "some of both")
    examples = [*train, *test]
    texts = {(example.instruction or procedure.description, example.demonstrations) for example in examples}
    text, shown = next(iter(texts))
    if len(texts) > 1 or not text:
        raise DataError(
            f"{name}: {len(texts) if text else 'no'} instructions",
            "one instruction for all its examples, which a teacher reads",
            "give all examples the same `instruction`",
        )
    queries = [Example(example.query, references=example.accepted) for example in examples]
    return Prompt(Lesson(procedure, text, shown, name), queries, len(test) / len(examples))
