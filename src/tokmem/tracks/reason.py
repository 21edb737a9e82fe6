"""Reasoning: word problems solved step by step, with memory tokens before the query or after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tokmem.bank.init import Start
from tokmem.config import check_once, setting
from tokmem.data import Corpus
from tokmem.data.chat import Chat
from tokmem.data.gsm8k import PROCEDURE, load_gsm8k, training_part
from tokmem.data.placement import Placement
from tokmem.errors import ConfigError
from tokmem.eval.reasoning import final_answer, score_reasoning
from tokmem.files import atomic_write_json
from tokmem.log import Metrics
from tokmem.methods.base import Base
from tokmem.methods.peft_prompts import PeftPrompt
from tokmem.methods.prefix_tuning import PrefixTuning
from tokmem.methods.protocol import Method
from tokmem.methods.tokmem import TokMem
from tokmem.mini.corpus import arithmetic_corpus
from tokmem.model.backbone import Backbone
from tokmem.records import Answer, Example
from tokmem.tracks.summary import grouped_means
from tokmem.tracks.variants import Variant

if TYPE_CHECKING:
    from tokmem.tracks.capacity import CapacityConfig

KEYS = ("method", "embeddings", "train_size")
MEASURES = (*("compliance", "exact_match", "prompt_tokens_per_query", "train_seconds", "queries_per_second"),)


@dataclass(frozen=True)
class ProblemsConfig:
    """Which word problems, and how many of them."""

    source: Literal["arithmetic", "gsm8k"] = setting("arithmetic", "'arithmetic' (generated) or 'gsm8k'")
    train_file: str = setting("", "problems to learn from, JSON lines as published (gsm8k)")
    test_file: str = setting("", "problems to measure on, likewise (gsm8k)")
    train_sizes: tuple[float, ...] = setting(
        (1.0,), "learn from the first so many problems, size after size; up to 1 a share of all"
    )
    test_size: int | None = setting(None, "problems to measure on; none: all (gsm8k)")
    seed: int = setting(0, "of the generated problems (arithmetic)")

    def __post_init__(self) -> None:
        no_tests = self.test_size is not None and self.test_size < 1
        if not self.train_sizes or min(self.train_sizes) <= 0 or no_tests:
            raise ConfigError(
                f"train_sizes {list(self.train_sizes)}, test_size {self.test_size}", "sizes above 0"
            )
        check_once(vars(self), ("train_sizes",))
        if {bool(self.train_file), bool(self.test_file)} != {self.source == "gsm8k"}:
            raise ConfigError(
                f"source {self.source} with train_file {self.train_file!r}, test_file {self.test_file!r}",
                "both files for gsm8k, none for arithmetic",
            )

    def load(self) -> Corpus:
        """Reads or draws the problems.

        Raises:
            ConfigError: problems are to be generated, and it is not said how many; or the file holds fewer
                than `test_size`.
            DataError: a file cannot be used.
        """
        if self.source == "gsm8k":
            return load_gsm8k(Path(self.train_file), Path(self.test_file), self.test_size)
        if self.test_size is None or max(self.train_sizes) <= 1:
            raise ConfigError(
                f"train_sizes {list(self.train_sizes)}, test_size {self.test_size}",
                "numbers of problems to generate",
                "give a test_size and a training size above 1",
            )
        return arithmetic_corpus(int(max(self.train_sizes)), self.test_size, self.seed)


class Part(NamedTuple):
    """One method with so many embeddings, learning from so many problems, with one seed."""

    variant: Variant
    embeddings: int
    train_size: int
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.variant.name}-{self.embeddings}-n{self.train_size}-{self.seed}"


def prepare(config: CapacityConfig, variants: Sequence[Variant], backbone: Backbone) -> Reasoning:
    """Reads or draws the problems.

    Raises:
        ConfigError: there are fewer problems than a training size asks for.
        DataError: they cannot be used.
    """
    return Reasoning(config, variants, backbone)


class Reasoning:
    """Every part of an experiment, over the same problems.

    Attributes:
        parts: names, in order.
        facts: what a summary says beside its rows.
        checksum: of the problems.
    """

    def __init__(self, config: CapacityConfig, variants: Sequence[Variant], backbone: Backbone) -> None:
        self.config, self.backbone = config, backbone
        self.corpus = config.problems.load()
        self.chat = Chat(backbone.tokenizer, config.system_prompt or None, plain=not config.chat_template)
        train = self.corpus.train[PROCEDURE.name]
        self.train = {
            len(part): part for part in (training_part(train, size) for size in config.problems.train_sizes)
        }
        self._parts = {part.name: part for v in variants for part in self._parts_of(v)}
        self.parts = tuple(self._parts)
        self.checksum = self.corpus.checksum
        self.facts = {
            "examples": {split: len(self.corpus.examples(split)) for split in ("train", "test")},
            "chat_template": config.chat_template,
        }

    def _parts_of(self, variant: Variant) -> list[Part]:
        """The untrained backbone once, others for each size, number of embeddings and seed."""
        if variant.method == "base":
            return [Part(variant, 0, 0, self.config.seeds[0])]
        return [
            Part(variant, k, size, seed)
            for size in self.train
            for k in self.config.embeddings
            for seed in self.config.seeds
        ]

    def run(self, part: str, out: Path) -> list[dict[str, Any]]:
        """Learns and answers; predictions and metrics are left in the folder."""
        chosen = self._parts[part]
        method = METHODS_OF[chosen.variant.method](self, chosen)
        train = self.train.get(chosen.train_size, ())
        with Metrics(out / "metrics" / f"{part}.jsonl") as metrics:
            learned = method.learn(
                [PROCEDURE], train, (), checkpoint=out / "checkpoints" / part, metrics=metrics
            )
        if train:
            method.save(out / "learned" / part, {"experiment": self.config.name, "seed": chosen.seed})
        tests = self.corpus.examples("test")
        started = perf_counter()
        answers = method.answer(tests, forced=True)  # one procedure: there is nothing to route
        seconds = perf_counter() - started
        atomic_write_json(out / "predictions" / f"{part}.json", predictions(tests, answers))
        scores = score_reasoning([e.accepted[0] for e in tests], [a.response for a in answers])
        return [
            {
                "method": chosen.variant.name,
                "embeddings": chosen.embeddings,
                "train_size": chosen.train_size,
                "compliance": scores.compliance,
                "exact_match": scores.exact_match,
                "prompt_tokens_per_query": fmean(a.prompt_tokens for a in answers),
                "train_seconds": learned.seconds,
                "queries_per_second": len(tests) / seconds,
                "trainable_parameters": method.trainable_parameters,
                "steps": learned.steps,
                "settings": dict(method.notes),
            }
        ]

    def summarise(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Means over seeds."""
        means = grouped_means(rows, KEYS, MEASURES)
        for row in means:
            members = [r for r in rows if all(r[key] == row[key] for key in KEYS)]
            row |= {name: members[0][name] for name in ("trainable_parameters", "steps", "settings")}
            row["seeds"] = len(members)
        return {"rows": means}

    def common(self) -> dict[str, Any]:
        """What every method takes."""
        config = self.config
        return {
            "chat": self.chat,
            "prompt": "query",
            "max_length": config.max_length,
            "recall": replace(config.recall, mode="atomic"),
        }

    def trained(self, part: Part) -> dict[str, Any]:
        """What every method that trains takes: equal epochs and batches, its own rate where it names one."""
        changes = dict(part.variant.changes)
        lr = changes.pop("lr", self.config.training.lr)
        settings = replace(self.config.training, seed=part.seed, lr=lr)
        own = {"settings": settings, "width": part.embeddings, "seed": part.seed}
        return self.common() | own | changes


def _base(task: Reasoning, part: Part) -> Method:
    return Base(task.backbone, **task.common())


def _tokmem(task: Reasoning, part: Part) -> Method:
    return TokMem(task.backbone, **{"start": task.config.start} | task.trained(part))


def _prefix(task: Reasoning, part: Part) -> Method:
    return PrefixTuning(task.backbone, **{"start": task.config.start} | task.trained(part))


def _peft_prompt(task: Reasoning, part: Part) -> Method:
    return PeftPrompt(task.backbone, "prompt_tuning", **task.trained(part))


def _peft_prefix(task: Reasoning, part: Part) -> Method:
    return PeftPrompt(task.backbone, "prefix_tuning", **task.trained(part))


METHODS_OF: Mapping[str, Callable[[Reasoning, Part], Method]] = {
    "base": _base,
    "tokmem": _tokmem,
    "prefix": _prefix,
    "peft_prompt": _peft_prompt,
    "peft_prefix": _peft_prefix,
}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "tokmem": {"lr": float, "start": Start},
    "prefix": {"lr": float, "start": Start, "placement": Placement},
    "peft_prompt": {"lr": float},
    "peft_prefix": {"lr": float},
}


def predictions(examples: Sequence[Example], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """What was expected and what was written, an entry a problem."""
    return [
        {
            "id": e.id,
            "question": e.query,
            "answer": e.accepted[0],
            "response": a.response,
            "expected": final_answer(e.accepted[0]),
            "found": final_answer(a.response),
        }
        for e, a in zip(examples, answers, strict=True)
    ]
