"""Ways to learn a lesson, measured on the same held-out queries.

All learn from the same queries, with as many passes and as many queries a step; those that distil read the
same stored predictions of the teacher.

- `lesson`: memory tokens, as `teach` trains them.
- `prompt_tuning`: as many virtual tokens of PEFT before the whole prompt, by the same divergence. They start
  from the same stretches of the text.
- `lora_r1`, `lora_r8`: an adapter of PEFT on the query and value projections, by the same divergence.
- `hard`: memory tokens by the cross-entropy of the teacher's responses, without those that were cut, unless
  all were.
- `references`: likewise of the queries' right outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tokmem.methods.closed import learn_taught
from tokmem.methods.lessons.divergence import mean_divergence, mean_loss
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.start import choose_start, start_from_text
from tokmem.methods.lessons.teach import Ready, compared, prepare, teach
from tokmem.methods.lora import LoRA
from tokmem.methods.peft_prompts import PeftPrompt
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone, input_embedding
from tokmem.model.placed import values_of
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Encoded, Example, Turn
from tokmem.tracks.distil.config import RANKS
from tokmem.tracks.distil.data import Prompt
from tokmem.tracks.distil.objectives import AdapterDistillation, PromptDistillation
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.objective import Objective
from tokmem.train.settings import FitSettings

_LORA_SCALE = 4  # of the adapter's product, as in the published scripts

Row = dict[str, Any]


@dataclass(frozen=True)
class Course:
    """A lesson to learn in one way.

    Attributes:
        backbone: the frozen model.
        prompt: what to learn, and the queries.
        settings: of the lesson.
        fit: how to train.
        teachers: folder for what teachers say, which all courses of a prompt share.
        checkpoint: folder for the training.
    """

    backbone: Backbone
    prompt: Prompt
    settings: LessonSettings
    fit: FitSettings
    teachers: Path
    checkpoint: Path

    def memory(self, width: int) -> TokMem:
        """A memory without procedures."""
        own: dict[str, Any] = {"start": "description", "width": width, "seed": self.fit.seed}
        return TokMem(self.backbone, prompt="query", settings=self.fit, **own)

    def ready(self, memory: TokMem) -> Ready:
        """Adds the untrained procedure to a memory, and says what the teacher said."""
        own = self.prompt
        return prepare(memory, own.lesson, self.settings, queries=own.queries, folder=self.teachers)

    @property
    def rival(self) -> dict[str, Any]:
        """The arguments that every rival takes."""
        recall = RecallSettings(max_new_tokens=self.settings.max_new_tokens)
        return {"prompt": "query", "settings": self.fit, "recall": recall, "seed": self.fit.seed}


def taught(course: Course, tokens: int) -> Row:
    """Teaches memory tokens."""
    memory, own = course.memory(tokens), course.prompt
    card = teach(memory, own.lesson, course.settings, queries=own.queries, folder=course.teachers)
    known = ("procedure", "tokens", "identity", "recipe", "seconds")
    facts = {name: value for name, value in asdict(card).items() if name not in known}
    return facts | {"trainable_parameters": tokens * memory.bank.dim}


def learned_hard(course: Course, tokens: int, *, references: bool) -> Row:
    """Trains memory tokens by the cross-entropy of responses: the right ones, or the teacher's."""
    memory = course.memory(tokens)
    ready = course.ready(memory)
    lesson, most = course.prompt.lesson, course.settings.max_new_tokens
    train = _with_references(ready.train) if references else _uncut(memory, ready.train, most)
    choose_start(memory, lesson.name, lesson.text, ready.train, ready.targets, course.settings.start_tries)
    learn_taught(memory, lesson.procedure, train, course.fit, BankObjective, course.checkpoint)
    answers = memory.recall(ready.held, [[lesson.name]] * len(ready.held), max_new_tokens=most)
    row = compared(memory, ready, answers, mean_divergence(memory, ready.held, ready.targets), tokens)
    return row | {"queries": len(train), "trainable_parameters": tokens * memory.bank.dim}


def _with_references(examples: Sequence[Example]) -> list[Example]:
    """Puts the first right output in the place of the teacher's response."""
    return [replace(e, turns=(Turn(e.turns[0].procedure, e.references[0]),)) for e in examples]


def _uncut(memory: TokMem, examples: Sequence[Example], most: int) -> Sequence[Example]:
    """The examples whose responses end by themselves; all if none does."""
    return [e for e in examples if len(memory.chat.text_ids(e.turns[0].response)) < most] or examples


def prompt_tuned(course: Course, tokens: int) -> Row:
    """Trains virtual tokens of PEFT to predict what the teacher predicts."""
    memory = course.memory(1)
    ready = course.ready(memory)
    method = PeftPrompt(course.backbone, "prompt_tuning", width=tokens, **course.rival)
    objective = PromptDistillation(method, ready.targets)
    weight = values_of(input_embedding(course.backbone.model))
    ids, (rows,) = memory.chat.text_ids(course.prompt.lesson.text), method.parameters

    def start(train: Sequence[Encoded]) -> None:
        start_from_text(rows.data, ids, weight, objective, train, course.settings.start_tries)

    return _distilled(course, memory, ready, method, objective, start)


def adapted(course: Course, tokens: int, *, rank: int) -> Row:
    """Trains an adapter of PEFT to predict what the teacher predicts."""
    memory = course.memory(1)
    ready = course.ready(memory)
    method = LoRA(course.backbone, lora_r=rank, lora_alpha=_LORA_SCALE * rank, **course.rival)
    return _distilled(course, memory, ready, method, AdapterDistillation(method, ready.targets))


def _distilled(
    course: Course,
    memory: TokMem,
    ready: Ready,
    method: PeftPrompt | LoRA,
    objective: Objective,
    start: Callable[[Sequence[Encoded]], None] = lambda train: None,
) -> Row:
    """Trains and measures a module of another library.

    Args:
        course: how to train.
        memory: the one that `ready` was made with.
        ready: what the teacher said.
        method: has the module.
        objective: its divergence from the teacher.
        start: chooses where the training starts, given its examples.
    """
    encoder = method.encoder
    train, held = ([encoder.encode_plain(e) for e in part] for part in (ready.train, ready.held))
    encoder.report_cuts()
    start(train)
    fit(objective, train, course.fit, checkpoint=course.checkpoint)
    answers: list[Answer] = method.answer(ready.held)
    row = compared(memory, ready, answers, mean_loss(objective, held), 0)
    return row | {"trainable_parameters": method.trainable_parameters}


LEARNERS: Mapping[str, Callable[[Course, int], Row]] = {
    "lesson": taught,
    "prompt_tuning": prompt_tuned,
    "hard": partial(learned_hard, references=False),
    "references": partial(learned_hard, references=True),
    **{name: partial(adapted, rank=rank) for name, rank in RANKS.items()},
}
