"""Measures lessons on real tasks: `python -m bench.lessons --tasks-dir FOLDER --work FOLDER`.

The prompt of a lesson is a task's instruction with its first two positive examples. Queries are inputs of the
task; no output of theirs is learned from. The held-out queries are scored against the task's own outputs:
by the model with the prompt (teacher), by memory tokens alone (student), and without either (no_prompt).
A run that was stopped goes on: finished rows stand in the result, and a lesson keeps its steps in the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokmem.data.corpus import Corpus
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.sni import SniSpec, load_tasks
from tokmem.files import atomic_write_json, read_json
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import teach
from tokmem.methods.tokmem import TokMem
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


def row(
    backbone: Backbone,
    corpus: Corpus,
    task: str,
    width: int,
    settings: LessonSettings,
    work: Path,
    batch: int,
) -> dict[str, Any]:
    """One lesson, by a number of tokens."""
    lesson, queries = lesson_of(corpus, task)
    memory = TokMem(
        backbone, coupled=False, addresses="closed", prompt="query", start="description", width=width
    )
    card = asdict(
        teach(memory, lesson, settings, queries=queries, training={"batch_size": batch}, folder=work)
    )
    return {"method": "tokmem_dc", **{name: value for name, value in card.items() if name != "identity"}}


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
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--train", type=int, default=24, help="queries that teach")
    parser.add_argument("--test", type=int, default=12, help="queries that measure")
    parser.add_argument("--max-prompt", type=int, default=300, help="most tokens of instruction and query")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
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
    chosen = {"settings": asdict(settings), "batch_size": options.batch_size, "shown": SHOWN}
    facts = {"backbone": backbone.id, "dtype": options.dtype, **chosen}
    rows = _finished(options.out, facts)
    source = provenance(
        options.seed, corpus.checksum, backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    for width in options.tokens:
        for task in corpus.names:
            if any((r["procedure"], r["tokens"]) == (task, width) for r in rows):
                continue
            rows.append(row(backbone, corpus, task, width, settings, options.work, options.batch_size))
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
