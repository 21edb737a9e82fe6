"""Ways to learn a lesson, measured on the same held-out queries.

All learn from the same queries, with as many passes and as many queries a step; those that distil read the
same stored predictions of the teacher.

- `lesson`: memory tokens, as `teach` trains them.
- `prompt_tuning`: as many virtual tokens of PEFT before the whole prompt, by the same divergence. They start
  from the same stretches of the text.
- `lora_r1`, `lora_r8`: an adapter of PEFT on the query and value projections, by the same divergence.
- `hard`: one memory token by the cross-entropy of the teacher's responses, without those that were cut,
  unless all were.
- `references`: likewise of the queries' right outputs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tokmem.data.lessons.lesson import Lesson
from tokmem.files import atomic_write_json, read_json
from tokmem.methods.closed import learn_taught
from tokmem.methods.lessons.card import rouge
from tokmem.methods.lessons.divergence import mean_divergence, mean_loss
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.start import choose_start, start_from_text
from tokmem.methods.lessons.teach import Ready, prepare, teach
from tokmem.methods.lora import LoRA
from tokmem.methods.peft_prompts import PeftObjective, PeftPrompt
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Encoded, Example, Turn
from tokmem.train.adapter import AdapterObjective
from tokmem.train.bank_objective import BankObjective
from tokmem.train.defaults import settings_for
from tokmem.train.distil import divergences
from tokmem.train.fit import fit
from tokmem.train.loss import LossSum
from tokmem.train.settings import FitSettings
from tokmem.train.step import whole_states
from tokmem.train.targets import Targets

LORA_RATE = 1e-3  # prompts and memory tokens take the rate of `settings_for`


@dataclass(frozen=True)
class Course:
    """A lesson to learn in several ways.

    Attributes:
        backbone: the frozen model.
        lesson: what to learn.
        queries: to learn and to measure on.
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

    def ready(self, width: int) -> tuple[TokMem, Ready]:
        """A memory with the untrained procedure alone, and what the teacher said."""
        memory = empty(self.backbone, width)
        return memory, prepare(memory, self.lesson, self.settings, queries=self.queries, folder=self.work)

    @property
    def recall(self) -> RecallSettings:
        return RecallSettings(max_new_tokens=self.settings.max_new_tokens)

    def options(self, how: FitSettings) -> dict[str, Any]:
        """The arguments that every rival takes."""
        return {"prompt": "query", "settings": how, "recall": self.recall, "seed": self.settings.seed}


Row = dict[str, Any]
Maker = Callable[[Course, int], Row]


def empty(backbone: Backbone, width: int) -> TokMem:
    return TokMem(backbone, prompt="query", start="description", width=width)


def taught(course: Course, width: int, memory: TokMem | None = None) -> Row:
    """The row of memory tokens; they go into the given memory, or else into one of their own."""
    card = teach(
        memory or empty(course.backbone, width),
        course.lesson,
        course.settings,
        queries=course.queries,
        training=course.training,
        folder=course.work,
    )
    facts = {name: value for name, value in asdict(card).items() if name not in ("identity", "recipe")}
    return {"method": "lesson", **facts}


def learned_hard(course: Course, width: int, *, references: bool) -> Row:
    """The row of memory tokens that learn responses by their cross-entropy."""
    memory, ready = course.ready(width)
    started = time.monotonic()
    name, lesson, most = course.lesson.name, course.lesson, course.settings.max_new_tokens
    if references:
        train = [replace(e, turns=(Turn(name, e.references[0]),)) for e in ready.train]
    else:
        whole = [e for e in ready.train if len(memory.chat.text_ids(e.turns[0].response)) < most]
        train = whole or ready.train
    choose_start(memory, name, lesson.text, ready.train, ready.targets, course.settings.start_tries)
    how = settings_for(len(train), course.backbone, course.training)
    learn_taught(memory, lesson.procedure, train, how, BankObjective)
    answers = memory.recall(ready.held, [[name]] * len(ready.held), max_new_tokens=most)
    kl = mean_divergence(memory, ready.held, ready.targets)
    row = {"method": "references" if references else "hard", "tokens": width, "rate": how.lr}
    return row | _scores(course, ready.held, answers, kl, started) | {"queries": len(train)}


def prompt_tuned(course: Course, width: int) -> Row:
    """The row of PEFT's prompt tuning."""
    memory, ready = course.ready(1)
    started = time.monotonic()
    how = settings_for(len(ready.train), course.backbone, course.training)
    method = PeftPrompt(course.backbone, "prompt_tuning", width=width, **course.options(how))
    objective = PromptDistillation(method, ready.targets)
    train, held = ([method.encoder.encode_plain(e) for e in part] for part in (ready.train, ready.held))
    weight: Any = course.backbone.model.get_input_embeddings().weight
    ids, (rows,) = memory.chat.text_ids(course.lesson.text), method.parameters
    start_from_text(rows.data, ids, weight, objective, train, course.settings.start_tries)
    fit(objective, train, how)
    row = {"method": "prompt_tuning", "tokens": width, "rate": how.lr, "queries": len(train)}
    return row | _scores(course, ready.held, method.answer(ready.held), mean_loss(objective, held), started)


def adapted(course: Course, tokens: int, *, rank: int) -> Row:
    """The row of LoRA. Its product is scaled by 4, as in the published scripts."""
    _, ready = course.ready(1)
    started = time.monotonic()
    how = settings_for(len(ready.train), course.backbone, {**course.training, "lr": LORA_RATE})
    method = LoRA(course.backbone, lora_r=rank, lora_alpha=4 * rank, **course.options(how))
    objective = AdapterDistillation(method, ready.targets)
    train, held = ([method.encoder.encode_plain(e) for e in part] for part in (ready.train, ready.held))
    fit(objective, train, how)
    row = {"method": f"lora_r{rank}", "tokens": tokens, "rate": how.lr, "queries": len(train)}
    return row | _scores(course, ready.held, method.answer(ready.held), mean_loss(objective, held), started)


def _scores(
    course: Course, held: Sequence[Example], answers: Sequence[Answer], kl: float, started: float
) -> Row:
    right = [example.turns[0].response for example in held]
    return {
        "procedure": course.lesson.name,
        "student": rouge(held, right, answers),
        "kl": kl,
        "held_out": len(held),
        "seconds": time.monotonic() - started,
    }


class PromptDistillation(PeftObjective):
    """The divergence of a model with PEFT's prompt from a teacher."""

    def __init__(self, method: PeftPrompt, targets: Targets) -> None:
        super().__init__(method)
        self.targets = targets

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The sum over responses."""
        logits, _ = self.method.logits(examples)
        ids, logs, rest = self.targets.of(examples, logits.device)
        own = logits.log_softmax(1)
        others = own.scatter(1, ids, -torch.inf).logsumexp(1)
        own, taught = torch.cat([own.gather(1, ids), others[:, None]], 1), torch.cat([logs, rest[:, None]], 1)
        return _sum(nn.functional.kl_div(own, taught, reduction="sum", log_target=True), len(ids))


class AdapterDistillation(AdapterObjective):
    """The divergence of an adapted model from a teacher."""

    def __init__(self, method: LoRA, targets: Targets) -> None:
        super().__init__(method.lm, method.adapter, seed=method.seed)
        self.targets = targets

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The sum over responses."""
        hidden, _ = whole_states(self.lm, examples)
        top = self.targets.of(examples, hidden.device)
        return _sum(divergences(self.lm.head, hidden, top).sum(), len(hidden))


def _sum(total: torch.Tensor, count: int) -> LossSum:
    none = torch.zeros((), device=total.device)
    return LossSum(total, none, count, none.long())


METHODS: dict[str, Maker] = {
    "lesson": taught,
    "prompt_tuning": prompt_tuned,
    "hard": partial(learned_hard, references=False),
    "references": partial(learned_hard, references=True),
    "lora_r1": partial(adapted, rank=1),
    "lora_r8": partial(adapted, rank=8),
}
SEVERAL = ("lesson", "prompt_tuning")  # the methods that are measured with each number of tokens


def wanted(methods: Sequence[str], tokens: Sequence[int]) -> list[tuple[str, int]]:
    """Methods and numbers of tokens to measure; an adapter has none."""
    return [
        (method, width)
        for method in methods
        for width in (tokens if method in SEVERAL else [0 if method.startswith("lora") else 1])
    ]


def measure_courses(courses: Iterable[Course], chosen: Sequence[tuple[str, int]], result: Result) -> None:
    """Measures each course in each way: methods, and their numbers of tokens. Rows that are there stay."""
    for course in courses:
        for method, width in chosen:
            if not result.has(method, course.lesson.name, width):
                result.add(METHODS[method](course, width))


def learned_in_one(courses: Sequence[Course], width: int, result: Result) -> TokMem:
    """Teaches all courses to one memory, and saves it after each; skips those of an earlier run."""
    backbone, mark = courses[0].backbone, hashlib.sha256(repr(result.facts).encode()).hexdigest()
    bank = courses[0].work / f"bank-{width}-{mark[:8]}"
    options: Row = {"start": "description", "width": width}
    memory = TokMem.load(bank, backbone, **options) if bank.is_dir() else empty(backbone, width)
    for course in courses:
        if course.lesson.name not in memory:
            result.add(taught(course, width, memory))
            memory.save(bank)
    return memory


class Result:
    """A result file that grows row by row.

    Args:
        out: the file; rows of an earlier run stay if it has the same facts, and the method still exists.
        facts: what the rows depend on.
        source: provenance.
    """

    def __init__(self, out: Path, facts: Row, source: Row) -> None:
        self.out, self.facts, self.source = out, facts, source
        found = read_json(out, dict, "remove it") if out.is_file() else {"rows": []}
        same = all(found.get(name) == value for name, value in facts.items())
        self.rows: list[Row] = [row for row in found["rows"] if same and row["method"] in METHODS]

    def has(self, *key: str | int) -> bool:
        """Whether there is a row of a method, a procedure and a number of tokens."""
        return any(_key(row) == key for row in self.rows)

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
