"""An atomic experiment: its corpus, its parts (training size, prompt mode, method), and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tokmem.data import SPLITS, Corpus, PromptMode
from tokmem.data.schedule import Block, plan
from tokmem.errors import ConfigError, DataError
from tokmem.eval.duplicates import NearDuplicate, near_duplicates
from tokmem.log import logger
from tokmem.methods.protocol import Setup
from tokmem.model.backbone import Backbone
from tokmem.records import Procedure
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.atomic.data import load_corpus
from tokmem.tracks.atomic.learner import BlockLearner
from tokmem.tracks.atomic.scores import forgetting, mean_scores, probes
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.origin import origin_of
from tokmem.tracks.rates import Losses, best_rate, rates_of, search, searched
from tokmem.tracks.variants import MethodVariant


class AtomicPart(NamedTuple):
    """One method in one prompt mode, learning from one number of examples a task (None: from all)."""

    train_size: int | None
    prompt: PromptMode
    variant: MethodVariant

    def label(self, name: str) -> str:
        """A name that tells training sizes apart, if there are several."""
        return name if self.train_size is None else f"{name}-n{self.train_size}"


class AtomicResult(NamedTuple):
    """The rows of a part's stages and seeds, and the losses that its rate was chosen by."""

    rows: list[dict[str, Any]]
    losses: Losses


def learner_name(method: str, prompt: str, seed: int) -> str:
    """Names the files of one method, prompt mode and seed; its bank is `banks/<name>`."""
    return f"{method}-{prompt.replace('+', '-')}-{seed}"


class AtomicExperiment(Experiment):
    """All parts over one corpus.

    Raises:
        ConfigError: a stage or training size needs more tasks or examples than there are.
        DataError: an example has several turns, or a task has nothing to learn from.
        TokMemError: the corpus cannot be used.
    """

    def __init__(self, config: AtomicConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.backbone = config, folder, backbone
        self.corpus = corpus = load_corpus(config.data, backbone)
        self.checksum = corpus.checksum
        self.blocks = plan(len(corpus.names), config.stages, config.schedule, config.block_size)
        _check_corpus(config, corpus)
        sizes = config.train_sizes or (None,)
        self._corpora = {size: _first(corpus, size) for size in sizes}
        self.parts = [
            AtomicPart(size, prompt, variant)
            for size in sizes
            for prompt in config.prompts
            for variant in config.variants
        ]

    def begin(self) -> None:
        """Warns of tasks that were left out, and of tasks that ask for nearly the same."""
        for name, reason in self.corpus.skipped.items():
            logger.warning("skipped %s: %s", name, reason)
        for pair in self._near_duplicates:
            logger.warning("%s and %s ask for nearly the same", pair.first, pair.second)

    @cached_property
    def _near_duplicates(self) -> list[NearDuplicate]:
        """Pairs that ask for nearly the same, by the instructions of test examples, else by descriptions."""
        tests = self.corpus.test
        first = {name: next((e.instruction for e in tests[name]), "") for name in self.corpus.names}
        return near_duplicates(
            Procedure(p.name, first[p.name] or p.description) for p in self.corpus.procedures
        )

    def rank(self, part: AtomicPart) -> int:
        """The rank of the part's method."""
        return part.variant.spec.rank

    def run(self, part: AtomicPart) -> AtomicResult:
        """Chooses the rate if several are given, then learns and measures with each seed."""
        losses = self._try_rates(part)
        known = {"method": part.variant.name, "prompt": part.prompt, "train_size": part.train_size}
        seeds = self.config.seeds if part.variant.spec.trains else self.config.seeds[:1]
        rows = [self._learner(part, seed, best_rate(losses)).rows() for seed in seeds]
        return AtomicResult([known | row for own in rows for row in own], losses)

    def summarise(self, results: Sequence[AtomicResult]) -> dict[str, Any]:
        """`rows`, means over the seeds for each part and stage; `forgetting` compares several stages."""
        rows, corpus = [row for result in results for row in result.rows], self.corpus
        losses = {
            part.label(f"{part.variant.name}/{part.prompt}"): result.losses
            for part, result in zip(self.parts, results, strict=True)
        }
        return {
            "rows": mean_scores(rows),
            "forgetting": forgetting(rows, corpus.names, self.blocks),
            "probes": probes(rows),
            **searched(losses),
            "procedures": list(corpus.names),
            "skipped": dict(corpus.skipped),
            "near_duplicates": [[*pair[:2], round(pair.similarity, 4)] for pair in self._near_duplicates],
            "examples": {s: len(self._corpora[self.parts[0].train_size].examples(s)) for s in SPLITS},
        }

    def _learner(self, part: AtomicPart, seed: int, rate: float | None) -> BlockLearner:
        config, variant = self.config, part.variant
        name = part.label(learner_name(variant.name, part.prompt, seed))
        setup = Setup(
            self.backbone,
            fit=config.training,
            recall=replace(config.recall, mode="atomic"),
            prompt=part.prompt,
            max_length=config.max_length,
            seed=seed,
            rate=rate,
            asked=self.corpus.names,
            measures_only=config.skip_training,
        )
        return BlockLearner(
            name=name,
            key=name if rate is None else f"{name}-{rate:g}",
            build=lambda: variant.spec.build(setup, variant.own(config)),
            out=self.folder,
            origin=origin_of(config.name, seed, self.checksum, self.backbone),
            learns=variant.spec.learns and not config.skip_training,
            corpus=self._corpora[part.train_size],
            blocks=self.blocks,
            probes=() if part.prompt == "query" else config.probes,
        )

    def _try_rates(self, part: AtomicPart) -> Losses:
        """The validation loss of each rate on the first stage's tasks with the first seed."""
        if self.config.skip_training:
            return {}
        first = Block(0, next(b.end for b in self.blocks if b.measured), measured=True)
        # If the run learns the first stage together too, its first block is trained already.
        suffix = "" if self.blocks[0] == first else "-choice"
        learners = {
            rate: self._learner(part, self.config.seeds[0], rate)
            for rate in rates_of(self.config, part.variant.spec)
        }
        return search(learners, lambda rate: learners[rate].learn(learners[rate].build(), first, suffix))


def _first(corpus: Corpus, size: int | None) -> Corpus:
    """The corpus with the first `size` training examples of each task; None keeps all."""
    cut = corpus.part(corpus.names, {"train": size, "validation": None, "test": None})
    for name, examples in cut.train.items():
        if size is not None and len(examples) < size:
            got = f"train_sizes up to {size}, and {len(examples)} examples of {name!r}"
            raise ConfigError(got, f"data.train_size of at least {size}")
    return cut


def _check_corpus(config: AtomicConfig, corpus: Corpus) -> None:
    """Refuses at the start what would fail at the end."""
    if config.rates and not corpus.examples("validation"):
        raise ConfigError("rates to choose from and no validation examples", "val_size of at least 1")
    if not config.skip_training and any(variant.spec.learns for variant in config.variants):
        for name, examples in corpus.train.items():
            if not examples:
                raise DataError(f"no training examples of {name!r}", "at least one", "raise train_size")
    for example in (e for split in SPLITS for e in corpus.examples(split)):
        if len(example.turns) != 1:
            raise DataError(
                f"example {example.id}: {len(example.turns)} turns", "one: this track recalls one procedure"
            )
