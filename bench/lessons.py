"""Measures lessons on real tasks: `python -m bench.lessons --tasks-dir FOLDER --work FOLDER`.

The prompt of a lesson is a task's instruction with its first two positive examples. Queries are inputs of the
task; `lesson` learns from no output of theirs. The held-out queries are scored against the task's own
outputs: by the model with the prompt (teacher), by memory tokens alone (student), and without either
(no_prompt).
`labels` trains one memory token on the outputs of the same queries. Tasks come in the order of their numbers.
A run that was stopped goes on: finished rows stand in the result, and a lesson keeps its steps in the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tokmem.data.corpus import Corpus
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.sni import SniSpec, load_tasks
from tokmem.files import atomic_write_json, read_json
from tokmem.methods.lessons.card import rouge
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import identity, split, teach
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.provenance import provenance
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Turn

SHOWN = 2
OUT = Path("results/distil/prompts.json")


def lesson_of(corpus: Corpus, task: str) -> tuple[Lesson, list[Example]]:
    """The lesson of a task, and its queries with their outputs as references."""
    examples = [*corpus.train[task], *corpus.test[task]]
    procedure = next(one for one in corpus.procedures if one.name == task)
    queries = [Example(e.query, references=e.accepted) for e in examples]
    return Lesson(procedure, examples[0].instruction, examples[0].demonstrations, task), queries


def empty(backbone: Backbone, width: int) -> TokMem:
    return TokMem(backbone, prompt="query", start="description", width=width)


def taught(
    backbone: Backbone,
    corpus: Corpus,
    task: str,
    width: int,
    settings: LessonSettings,
    training: dict[str, int],
    work: Path,
) -> dict[str, Any]:
    """The row of a lesson."""
    lesson, queries = lesson_of(corpus, task)
    card = asdict(
        teach(empty(backbone, width), lesson, settings, queries=queries, training=training, folder=work)
    )
    return {"method": "lesson", **{name: value for name, value in card.items() if name != "identity"}}


def labelled(
    backbone: Backbone,
    corpus: Corpus,
    task: str,
    settings: LessonSettings,
    training: dict[str, int],
    work: Path,
) -> dict[str, Any]:
    """One memory token that learned from the outputs of a lesson's queries; the lesson comes first."""
    (lesson, queries), memory = lesson_of(corpus, task), empty(backbone, 1)
    place = work / f"{task}-{identity(memory, lesson, settings, queries)[:8]}"
    asked = [
        Example(one["query"], (Turn(task, one["references"][0]),), references=tuple(one["references"]))
        for one in read_json(place / "responses.json", list, "teach it first")
    ]
    held, train = split(asked, settings, task)
    memory.add(lesson.procedure)
    memory.fit(train, **training)
    recall = RecallSettings(max_new_tokens=settings.max_new_tokens)
    answers = answer_examples(memory.lm, memory.encoder, held, recall, [[task]] * len(held))
    score = rouge(held, [""] * len(held), answers)
    return {"method": "labels", "procedure": task, "tokens": 1, "student": score, "queries": len(train)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Teaches every task with every number of tokens, and writes the result after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks-dir", type=Path, required=True, help="Super-NaturalInstructions task files")
    parser.add_argument("--work", type=Path, required=True, help="folder for what a stopped run goes on with")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--train", type=int, default=40, help="queries that teach")
    parser.add_argument("--test", type=int, default=20, help="queries that measure")
    parser.add_argument("--max-prompt", type=int, default=300, help="most tokens of instruction and query")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    measure(options, load_backbone(options.backbone, dtype=options.dtype))


def measure(options: argparse.Namespace, backbone: Backbone) -> None:
    """Writes the result, row after row."""
    spec = SniSpec(
        num_tasks=options.tasks,
        train_size=options.train,
        val_size=0,
        test_size=options.test,
        few_shot=SHOWN,
        max_instruction_tokens=options.max_prompt,
    )
    corpus = load_tasks(options.tasks_dir, spec, lambda text: len(backbone.tokenizer.encode(text)))
    share = options.test / (options.train + options.test)
    settings = LessonSettings(held_out=share, max_new_tokens=options.max_new_tokens, seed=options.seed)
    training = {"batch_size": options.batch_size, "epochs": options.epochs}
    chosen = {"settings": asdict(settings), "training": training, "shown": SHOWN}
    facts = {"backbone": backbone.id, "dtype": options.dtype, **chosen}
    rows = _finished(options.out, facts)
    source = provenance(
        options.seed, corpus.checksum, backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    for task in corpus.names:
        what = backbone, corpus, task
        makers = {
            ("lesson", width): partial(taught, *what, width, settings, training, options.work)
            for width in options.tokens
        } | {("labels", 1): partial(labelled, *what, settings, training, options.work)}
        done = {(r["method"], r["tokens"]) for r in rows if r["procedure"] == task}
        for key, make in makers.items():
            if key not in done:
                rows.append(make())
                options.out.parent.mkdir(parents=True, exist_ok=True)
                atomic_write_json(options.out, {**facts, "rows": rows, "provenance": source})


def _finished(out: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier run with the same settings."""
    if not out.is_file():
        return []
    found = read_json(out, dict, "remove it")
    same = all(found.get(name) == value for name, value in facts.items())
    return list(found["rows"]) if same else []


if __name__ == "__main__":
    main()
