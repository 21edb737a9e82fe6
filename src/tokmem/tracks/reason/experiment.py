"""A reasoning experiment: its word problems, its parts, and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, NamedTuple

from tokmem.data.chat import Chat
from tokmem.data.gsm8k import PROCEDURE, training_part
from tokmem.eval.reasoning import predictions, score_reasoning
from tokmem.files import atomic_write_json
from tokmem.methods.protocol import Method, Setup
from tokmem.methods.shared import answer_shared
from tokmem.model.backbone import Backbone
from tokmem.report.tables import mean_rows
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.progress import learn, rows_once
from tokmem.tracks.reason.config import ReasonConfig
from tokmem.tracks.variants import MethodVariant

KEYS = ("method", "embeddings", "train_size")
MEASURES = ("compliance", "exact_match", "prompt_tokens_per_query", "train_seconds", "queries_per_second")
OF_ONE_SEED = ("trainable_parameters", "steps", "settings")


class ProblemPart(NamedTuple):
    """One variant with a number of embeddings, a number of training problems, and one seed."""

    variant: MethodVariant
    embeddings: int
    train_size: int
    seed: int

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{self.variant.name}-{self.embeddings}-n{self.train_size}-{self.seed}"


class Reasoning(Experiment):
    """Every part of an experiment, over the same problems.

    Raises:
        ConfigError: there are fewer problems than a training size asks for.
        DataError: they cannot be used.
    """

    def __init__(self, config: ReasonConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.backbone = config, folder, backbone
        self.corpus = config.problems.load()
        self.checksum = self.corpus.checksum
        self.chat = Chat(backbone.tokenizer, config.system_prompt or None, plain=not config.chat_template)
        train = self.corpus.train[PROCEDURE.name]
        self.train = {
            len(part): part for part in (training_part(train, size) for size in config.problems.train_sizes)
        }
        self.parts = [part for variant in config.variants for part in self._parts_of(variant)]

    def _parts_of(self, variant: MethodVariant) -> list[ProblemPart]:
        """A part for each size, number of embeddings and seed; one for a method that learns nothing."""
        if not variant.spec.learns:
            return [ProblemPart(variant, 0, 0, self.config.seeds[0])]
        return [
            ProblemPart(variant, embeddings, size, seed)
            for size in self.train
            for embeddings in self.config.embeddings
            for seed in self.config.seeds
        ]

    def run(self, part: ProblemPart) -> list[dict[str, Any]]:
        """Learns and answers; the folder receives predictions, metrics and what was learned."""
        return rows_once(self.folder, part.name, lambda: [self._measure(part)])

    def _measure(self, part: ProblemPart) -> dict[str, Any]:
        method, train = self._build(part), self.train.get(part.train_size, ())
        learned = learn(method, [PROCEDURE], train, (), self.folder, part.name)
        if train:
            method.save(
                self.folder / "learned" / part.name, {"experiment": self.config.name, "seed": part.seed}
            )
        tests = self.corpus.examples("test")
        started = perf_counter()
        answers = answer_shared(method, tests, forced=True)  # one procedure: there is nothing to route
        seconds = perf_counter() - started
        atomic_write_json(self.folder / "predictions" / f"{part.name}.json", predictions(tests, answers))
        scores = score_reasoning([e.accepted[0] for e in tests], [a.response for a in answers])
        return {
            "method": part.variant.name,
            "embeddings": part.embeddings,
            "train_size": part.train_size,
            "compliance": scores.compliance,
            "exact_match": scores.exact_match,
            "prompt_tokens_per_query": fmean(a.prompt_tokens for a in answers),
            "train_seconds": learned.seconds,
            "queries_per_second": len(tests) / seconds,
            "trainable_parameters": method.trainable_parameters,
            "steps": learned.steps,
            "settings": dict(method.notes),
        }

    def _build(self, part: ProblemPart) -> Method:
        """A fresh method. All that train have equal epochs and batches; a variant may have its own rate."""
        config, variant = self.config, part.variant
        setup = Setup(
            self.backbone,
            fit=variant.with_rate(config.training),
            recall=replace(config.recall, mode="atomic"),
            prompt="query",
            max_length=config.max_length,
            chat=self.chat,
            seed=part.seed,
        )
        return variant.spec.build(setup, variant.own(config, width=part.embeddings))

    def summarise(self, results: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """`rows`, means over seeds."""
        rows = [row for result in results for row in result]
        return {
            "task": self.config.task,
            "rows": mean_rows(rows, KEYS, MEASURES, OF_ONE_SEED),
            "examples": {split: len(self.corpus.examples(split)) for split in ("train", "test")},
            "chat_template": self.config.chat_template,
        }
