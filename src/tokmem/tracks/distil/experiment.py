"""A distillation experiment: its prompts, its parts, and its summary."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from tokmem.log import logger
from tokmem.methods.lessons.teach import teacher_of
from tokmem.model.backbone import Backbone
from tokmem.tracks.atomic.data import load_corpus
from tokmem.tracks.distil.config import DistilConfig, DistilPart
from tokmem.tracks.distil.data import prompts_of
from tokmem.tracks.distil.learners import LEARNERS, Course
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.progress import rows_once


class Distillation(Experiment):
    """Every part of an experiment, over the same prompts.

    Raises:
        ConfigError: generated tasks have too few inputs.
        DataError: the tasks cannot be used.
    """

    def __init__(self, config: DistilConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.backbone = config, folder, backbone
        self.corpus = load_corpus(config.data, backbone)
        self.checksum = self.corpus.checksum
        self.prompts = prompts_of(self.corpus)
        self.parts = config.parts(self.corpus.names)

    def begin(self) -> None:
        """Refuses a prompt that leaves no room, before any teacher answers; names the tasks left out."""
        for name, reason in self.corpus.skipped.items():
            logger.warning("skipped %s: %s", name, reason)
        for part in {part.task: part for part in self.parts}.values():
            course = self._course(part)
            own = course.prompt
            teacher_of(course.memory(1), own.lesson, course.settings, own.queries)

    def job(self, part: DistilPart) -> Hashable:
        """A task: one process lets its teacher answer, for all parts."""
        return part.task

    def run(self, part: DistilPart) -> list[dict[str, Any]]:
        """Learns a prompt in one way, and measures what is kept of it."""
        return rows_once(self.folder, part.name, lambda: [self._measure(part)])

    def _measure(self, part: DistilPart) -> dict[str, Any]:
        course, started = self._course(part), monotonic()
        row = LEARNERS[part.variant.method](course, part.tokens)
        named = {"method": part.label, "procedure": part.task, "tokens": part.tokens, "seed": part.seed}
        return {**named, **row, "rate": course.fit.lr, "seconds": monotonic() - started}

    def _course(self, part: DistilPart) -> Course:
        prompt = self.prompts[part.task]
        return Course(
            self.backbone,
            prompt,
            self.config.settings(part.variant, prompt.held_out),
            self.config.fit(part.variant, part.seed),
            self.folder / "teachers",
            self.folder / "checkpoints" / part.name,
        )

    def summarise(self, results: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """Returns `rows`, which has a row for each part. The report makes means over tasks and seeds."""
        return {
            "rows": [row for result in results for row in result],
            "procedures": list(self.corpus.names),
            "skipped": dict(self.corpus.skipped),
            "examples": {split: len(self.corpus.examples(split)) for split in ("train", "test")},
        }
