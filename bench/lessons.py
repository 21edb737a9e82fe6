"""Measures lessons on real tasks: `python -m bench.lessons --tasks-dir FOLDER --work FOLDER`.

The prompt of a lesson is a task's instruction with its first two positive examples. Queries are inputs of the
task. The held-out queries are scored against the task's own outputs: by the model with the prompt (teacher),
by what learned from the teacher (student), and without either (no_prompt). `bench.lesson_methods` has the
methods; `references` alone learns from outputs of the task. Tasks come in the order of their numbers.
A run that was stopped goes on: finished rows stand in the result, and a lesson keeps its steps in the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.lesson_methods import METHODS, Course, Result, measure_courses, wanted
from tokmem.data.corpus import Corpus
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.sni import SniSpec, load_tasks
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.provenance import provenance
from tokmem.records import Example

SHOWN = 2
OUT = Path("results/distil/prompts.json")


def lesson_of(corpus: Corpus, task: str) -> tuple[Lesson, list[Example]]:
    """The lesson of a task, and its queries with their outputs as references."""
    examples = [*corpus.train[task], *corpus.test[task]]
    procedure = next(one for one in corpus.procedures if one.name == task)
    queries = [Example(e.query, references=e.accepted) for e in examples]
    return Lesson(procedure, examples[0].instruction, examples[0].demonstrations, task), queries


def parser_of(description: str | None, out: Path) -> argparse.ArgumentParser:
    """The options that all measurements of lessons share."""
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Teaches every task in every way, and writes the result after each."""
    parser = parser_of(__doc__, OUT)
    parser.add_argument("--tasks-dir", type=Path, required=True, help="Super-NaturalInstructions task files")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["lesson", "references"])
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--train", type=int, default=40, help="queries that teach")
    parser.add_argument("--test", type=int, default=20, help="queries that measure")
    parser.add_argument("--max-prompt", type=int, default=300, help="most tokens of instruction and query")
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
    source = provenance(
        options.seed, corpus.checksum, backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    courses = [
        Course(backbone, *lesson_of(corpus, task), settings, training, options.work) for task in corpus.names
    ]
    measure_courses(courses, wanted(options.methods, options.tokens), Result(options.out, facts, source))


if __name__ == "__main__":
    main()
