"""Measures lessons on skills: `python -m bench.skills --work FOLDER`.

A skill is a folder with a `SKILL.md`, the prompt of the teacher, and a `queries.txt`, inputs without outputs.
The teacher's own greedy responses count as right, so that it scores 100. All skills go into one bank for each
number of tokens. In the end every held-out query is routed there: `routing` is the share that goes to its own
skill, and `recalled` the share whose answer begins with the memory token of that skill.
A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.taught import Course, Result, checksum, learned_in_one, parser_of
from tokmem.data.lessons.skill import SKILL, read_skill
from tokmem.data.queries import read_queries
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.provenance import provenance

OUT = Path("results/distil/skills.json")
QUERIES = "queries.txt"


def main(arguments: Sequence[str] | None = None) -> None:
    """Teaches every skill, and writes the result after each."""
    parser = parser_of(__doc__, OUT)
    parser.add_argument("--skills", type=Path, default=Path("examples/skills"), help="folder of the skills")
    parser.add_argument("--queries", type=int, default=60, help="most queries of a skill")
    options = parser.parse_args(arguments)
    measure(options, load_backbone(options.backbone, dtype=options.dtype))


def measure(options: argparse.Namespace, backbone: Backbone) -> None:
    """Writes the result, row after row."""
    settings = LessonSettings(max_new_tokens=options.max_new_tokens, seed=options.seed)
    training = {"batch_size": options.batch_size, "epochs": options.epochs}
    chosen = {"settings": asdict(settings), "training": training, "queries": options.queries}
    facts = {"backbone": backbone.id, "dtype": options.dtype, **chosen}
    courses = [
        Course(
            backbone,
            read_skill(folder),
            read_queries(folder / QUERIES)[: options.queries],
            settings,
            training,
            options.work,
        )
        for folder in sorted(path.parent for path in options.skills.glob(f"*/{SKILL}"))
    ]
    read = [path for name in (SKILL, QUERIES) for path in sorted(options.skills.glob(f"*/{name}"))]
    source = provenance(
        options.seed, checksum(read), backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    result = Result(options.out, facts, source)
    for width in options.tokens:
        memory = learned_in_one(courses, width, result)
        result.add(routed(memory, courses, width))


def routed(memory: TokMem, courses: Sequence[Course], width: int) -> dict[str, Any]:
    """The row of a bank: how many held-out queries find their skill among all."""
    held = [example for course in courses for example in course.ready(width).held]
    answers = memory.recall(held, max_new_tokens=1)
    wanted = [example.turns[0].procedure for example in held]
    found = [answer.route.procedure if answer.route else None for answer in answers]
    said = [answer.procedure for answer in answers]
    return {
        "method": "bank",
        "procedure": f"{len(memory)} skills in one bank",
        "tokens": width,
        "routing": 100 * fmean(a == b for a, b in zip(found, wanted, strict=True)),
        "recalled": 100 * fmean(a == b for a, b in zip(said, wanted, strict=True)),
        "held_out": len(held),
    }


if __name__ == "__main__":
    main()
