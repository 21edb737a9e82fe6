"""Atomic recall: one procedure a query. Load, learn, answer, score, write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, Literal

from tokmem.bank.init import Start
from tokmem.config import dump_config, setting
from tokmem.data import SPLITS, Corpus, PromptMode
from tokmem.data.fields import did_you_mean
from tokmem.errors import ConfigError, DataError
from tokmem.files import atomic_write_json
from tokmem.log import Metrics, logger
from tokmem.methods.base import Base
from tokmem.methods.protocol import Learned, Method
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.provenance import RunFolder, provenance
from tokmem.recall.generate import RecallSettings
from tokmem.report.tables import aggregate
from tokmem.tracks.backbone import BackboneConfig
from tokmem.tracks.data import DataConfig, load_corpus
from tokmem.tracks.scores import predictions, score
from tokmem.train.loop import FitSettings

MethodName = Literal["base", "tokmem", "tokmem_dc"]
MEASURES = (
    "routing_accuracy",
    "routing_accuracy_over_all",
    "rouge_l",
    "rouge_l_forced",
    "exact_match",
    "exact_match_forced",
    "prompt_tokens_per_query",
    "train_seconds",
    "queries_per_second",
)


@dataclass(frozen=True)
class AtomicConfig:
    """One experiment of the atomic track."""

    track: Literal["atomic"] = setting("atomic", "the track")
    name: str = setting("atomic", "names the run and its result file")
    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    training: FitSettings = field(default_factory=FitSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    methods: tuple[MethodName, ...] = setting(("base", "tokmem", "tokmem_dc"), "what to compare")
    prompts: tuple[PromptMode, ...] = setting(("instruction+query",), "what a prompt holds")
    seeds: tuple[int, ...] = setting((0,), "of starting rows and order; results are means over them")
    rates: tuple[float, ...] = setting((), "rates to choose from on validation loss; none: training.lr")
    start: Start = setting("mean", "starting rows of memory tokens")
    width: int = setting(1, "memory tokens a procedure")
    max_length: int = setting(1024, "most tokens in a sequence")
    skip_training: bool = setting(False, "evaluate a saved bank (load_task_tokens) without training")
    load_task_tokens: str = setting("", "folder of a saved bank: to evaluate, or to add procedures to")

    def __post_init__(self) -> None:
        for name in ("methods", "prompts", "seeds"):
            if not getattr(self, name):
                raise ConfigError(f"no {name}", "at least one")
        if self.skip_training and not self.load_task_tokens and set(self.methods) != {"base"}:
            raise ConfigError(
                "skip_training without load_task_tokens", "a saved bank to evaluate", "give its folder"
            )


def run(
    config: AtomicConfig, folder: Path, *, resume: bool = False, backbone: Backbone | None = None
) -> dict[str, Any]:
    """Runs an experiment and writes its folder.

    Args:
        config: what to run.
        folder: receives `config.yaml` and `summary.json`, and for each cell (method, prompt mode, seed) its
            metrics, scores, predictions, bank and checkpoint.
        resume: go on with the run that the folder holds; finished cells are not run again.
        backbone: the one that the config names, where it is loaded already.

    Returns:
        the summary, as written: `rows`, one for each method and prompt mode, means over the seeds.

    Raises:
        ConfigError: the folder holds a run (`resume` is not set) or one of another config.
        TokMemError: backbone, corpus or bank cannot be used.
    """
    backbone = backbone or config.backbone.load()
    corpus = load_corpus(config.data, backbone)
    _check_corpus(config, corpus)
    for name, reason in corpus.skipped.items():
        logger.warning("skipped %s: %s", name, reason)
    with RunFolder(folder, resume=resume) as out:
        _write_config(out, config)
        rows, rates = [], {}
        for prompt in config.prompts:
            for method in config.methods:
                cell = _Cell(config, backbone, corpus, method, prompt, out)
                rates[f"{method}/{prompt}"] = rate = cell.choose_rate()
                seeds = config.seeds if method != "base" else config.seeds[:1]
                rows.append(_mean_row(method, prompt, [cell.measure(seed, rate) for seed in seeds]))
        summary = {
            "name": config.name,
            "rows": rows,
            "chosen_rates": {key: rate for key, rate in rates.items() if rate is not None},
            "procedures": list(corpus.names),
            "skipped": dict(corpus.skipped),
            "examples": {s: len(corpus.examples(s)) for s in SPLITS},
            "backbone": backbone.id,
            "provenance": provenance(
                config.seeds[0], corpus.checksum, backbone.fingerprint, str(backbone.device)
            ),
        }
        out.write_summary(summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def cell_name(method: str, prompt: str, seed: int) -> str:
    """What the files of one method, prompt mode and seed are called; its bank is `banks/<name>`."""
    return f"{method}-{prompt.replace('+', '-')}-{seed}"


def _check_corpus(config: AtomicConfig, corpus: Corpus) -> None:
    """Refuses before the first step what would fail after the last."""
    if config.rates and not corpus.examples("validation"):
        raise ConfigError("rates to choose from and no validation examples", "val_size of at least 1")
    if not config.skip_training and set(config.methods) != {"base"}:
        for name, examples in corpus.train.items():
            if not examples:
                raise DataError(f"no training examples of {name!r}", "at least one", "raise train_size")
    for example in (e for split in SPLITS for e in corpus.examples(split)):
        if len(example.turns) != 1:
            raise DataError(
                f"example {example.id}: {len(example.turns)} turns", "one: this track recalls one procedure"
            )


def _write_config(out: RunFolder, config: AtomicConfig) -> None:
    path = out.path / "config.yaml"
    if path.exists() and path.read_text("utf-8") != dump_config(config):
        raise ConfigError(f"{path} is of another experiment", "the settings of the run", "use another folder")
    out.write_config(config)


@dataclass
class _Cell:
    """One method in one prompt mode."""

    config: AtomicConfig
    backbone: Backbone
    corpus: Corpus
    method: MethodName
    prompt: PromptMode
    out: RunFolder

    def build(self, seed: int, rate: float | None) -> Method:
        """A fresh method."""
        config = self.config
        recall = replace(config.recall, mode="atomic")
        if self.method == "base":
            return Base(self.backbone, prompt=self.prompt, max_length=config.max_length, recall=recall)
        coupled = self.method == "tokmem"
        options: dict[str, Any] = {
            "prompt": self.prompt,
            "max_length": config.max_length,
            "settings": replace(config.training, seed=seed, lr=config.training.lr if rate is None else rate),
            "recall": recall,
            "start": config.start,
            "width": config.width,
            "seed": seed,
        }
        if not config.load_task_tokens:
            return TokMem(self.backbone, coupled=coupled, **options)
        method = TokMem.load(config.load_task_tokens, self.backbone, **options)
        self._check_bank(method, coupled)
        return method

    def _check_bank(self, method: TokMem, coupled: bool) -> None:
        bank, folder = method.bank, self.config.load_task_tokens
        if bank.coupled != coupled:
            kind = "coupled" if bank.coupled else "decoupled"
            raise ConfigError(f"bank {folder} is {kind}", f"a bank of method {self.method}")
        unknown = [name for name in self.corpus.names if name not in bank]
        if self.config.skip_training and unknown:
            raise DataError(
                f"procedure {unknown[0]!r} is not in bank {folder}{did_you_mean(unknown[0], bank.names)}",
                "procedures of the bank",
                "leave it out (tasks), or train it",
            )

    def choose_rate(self) -> float | None:
        """The rate with the lowest validation loss on the first seed; None where there is no choice."""
        if self.method == "base" or not self.config.rates or self.config.skip_training:
            return None
        losses = {rate: self._validation_loss(rate) for rate in self.config.rates}
        return min(losses, key=losses.__getitem__)

    def _validation_loss(self, rate: float) -> float:
        seed = self.config.seeds[0]
        loss = self._learn(self.build(seed, rate), seed, rate).validation_loss
        assert loss is not None, "there are validation examples"
        return loss

    def _learn(self, method: Method, seed: int, rate: float | None) -> Learned:
        """Learns, or picks up what was learned: the chosen rate's first seed is not trained twice."""
        corpus = self.corpus
        key = cell_name(self.method, self.prompt, seed) + ("" if rate is None else f"-{rate:g}")
        with Metrics(self.out.path / "metrics" / f"{key}.jsonl") as metrics:
            return method.learn(
                corpus.procedures,
                corpus.examples("train"),
                corpus.examples("validation"),
                checkpoint=self.out.path / "checkpoints" / key,
                metrics=metrics,
            )

    def measure(self, seed: int, rate: float | None) -> dict[str, Any]:
        """Learns, answers the test set (routed, forced) and scores it; a finished cell is read back."""
        config, name = self.config, cell_name(self.method, self.prompt, seed)
        done = self.out.path / "cells" / f"{name}.json"
        if done.is_file():
            stored: dict[str, Any] = json.loads(done.read_text("utf-8"))
            return stored
        logger.info("%s, prompt %s, seed %d", self.method, self.prompt, seed)
        method = self.build(seed, rate)
        trains = self.method != "base" and not config.skip_training
        learned = self._learn(method, seed, rate) if trains else Learned()
        row = self._score(method, name) | {
            "trainable_parameters": method.trainable_parameters if trains else 0,
            "train_seconds": round(learned.seconds, 2),
            "steps": learned.steps,
        }
        if isinstance(method, TokMem) and trains:
            method.save(self.out.path / "banks" / name, self._origin(method))
        atomic_write_json(done, row)
        return row

    def _origin(self, method: TokMem) -> dict[str, Any]:
        """Where a bank comes from, for its file."""
        origin = provenance(
            method.seed, self.corpus.checksum, self.backbone.fingerprint, str(self.backbone.device)
        )
        return {"experiment": self.config.name, "settings": asdict(method.settings), "provenance": origin}

    def _score(self, method: Method, name: str) -> dict[str, Any]:
        examples = self.corpus.examples("test")
        if not examples:
            return {**dict.fromkeys(MEASURES), "per_procedure": {}, "most_confused": []}
        started = perf_counter()
        answers = method.answer(examples)
        seconds = perf_counter() - started
        forced = answers if self.method == "base" else method.answer(examples, forced=True)
        atomic_write_json(
            self.out.path / "predictions" / f"{name}.json", predictions(examples, answers, forced)
        )
        return {
            **score(examples, answers, forced),
            "prompt_tokens_per_query": fmean(a.prompt_tokens for a in answers),
            "queries_per_second": len(examples) / seconds,
        }


def _mean_row(method: str, prompt: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds, standard deviations beside them where there are several."""
    row: dict[str, Any] = {"method": method, "prompt": prompt, "seeds": len(cells)}
    (spreads,) = aggregate(cells, (), MEASURES)
    for name in MEASURES:
        spread = spreads[name]
        row[name] = spread and round(spread.mean, 4)
        if spread and spread.std is not None:
            row[f"{name}_std"] = round(spread.std, 4)
    for name in ("trainable_parameters", "steps", "per_procedure", "most_confused"):
        row[name] = cells[0][name]
    return row
