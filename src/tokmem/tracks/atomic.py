"""Atomic recall: one procedure a query. Load, learn stage by stage, answer, score, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tokmem.bank.init import Start
from tokmem.config import check_least, check_once, setting
from tokmem.data import SPLITS, Corpus, PromptMode
from tokmem.data.probes import Probe
from tokmem.errors import ConfigError, DataError
from tokmem.eval.duplicates import near_duplicates
from tokmem.eval.rouge import check_scorer
from tokmem.log import logger
from tokmem.methods.tokmem import Renorm
from tokmem.model.backbone import Backbone
from tokmem.provenance import RunFolder, provenance
from tokmem.recall.settings import RecallSettings
from tokmem.records import Procedure
from tokmem.tracks.backbone import BackboneConfig
from tokmem.tracks.build import Order, build, learns, rates_of, trains, variants
from tokmem.tracks.cell import Cell, learn
from tokmem.tracks.data import DataConfig, load_corpus
from tokmem.tracks.processes import share
from tokmem.tracks.rates import Losses, best_rate, check_search, searched
from tokmem.tracks.rivals import DemonstrationConfig, LoraConfig, ReplayConfig
from tokmem.tracks.schedule import Block, Schedule, plan
from tokmem.tracks.summary import forgetting, mean_rows, probes
from tokmem.tracks.variants import Variant
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class AtomicConfig:
    """One experiment of the atomic track."""

    track: Literal["atomic"] = setting("atomic", "the track")
    name: str = setting("atomic", "names the run and its result file")
    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    training: FitSettings = field(default_factory=FitSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    lora: LoraConfig = field(default_factory=LoraConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    demonstrations: DemonstrationConfig = field(default_factory=DemonstrationConfig)
    methods: tuple[str, ...] = setting(
        ("base", "tokmem", "tokmem_dc"), "what to compare; `tokmem+renorm=stage` changes a setting of one"
    )
    prompts: tuple[PromptMode, ...] = setting(("instruction+query",), "what a prompt holds")
    seeds: tuple[int, ...] = setting((0,), "of starting rows and order; results are means over them")
    stages: tuple[int, ...] = setting((), "numbers of tasks after which to measure; none: after all")
    schedule: Schedule = setting("mixed", "what is learned together: all of a stage, blocks, or single tasks")
    block_size: int = setting(10, "tasks in a block, where the schedule is blocks")
    probes: tuple[Probe, ...] = setting(
        (), "ask again with other instructions: truncated (their first half), reworded (procedures)"
    )
    train_sizes: tuple[int, ...] = setting(
        (), "learn from the first so many examples of each task, size after size; none: data.train_size"
    )
    rates: tuple[float, ...] = setting((), "rates to choose from on validation loss; none: training.lr")
    start: Start = setting("mean", "starting rows of memory tokens")
    width: int = setting(1, "memory tokens a procedure")
    renorm: Renorm = setting("off", "rescale new rows to the norm of the old: off, stage or step")
    negatives: int = setting(0, "query states to keep of each procedure, to train newcomers against")
    max_length: int = setting(1024, "most tokens in a sequence")
    skip_training: bool = setting(False, "evaluate a saved bank (load_task_tokens) without training")
    load_task_tokens: str = setting("", "folder of a saved bank: to evaluate, or to add procedures to")

    def __post_init__(self) -> None:
        for name in ("methods", "prompts", "seeds"):
            if not getattr(self, name):
                raise ConfigError(f"no {name}", "at least one")
        check_once(vars(self), ("methods", "prompts", "seeds", "train_sizes"))
        check_least(vars(self), dict.fromkeys(("train_sizes", "block_size", "width", "max_length"), 1))
        check_least(vars(self), {"rates": 0, "negatives": 0})
        parsed = variants(self)
        showing = [v.name for v in parsed if v.method in ("icl", "rag", "rag_instructed")]
        if self.data.few_shot and showing:
            raise ConfigError(
                f"data.few_shot {self.data.few_shot} and {', '.join(showing)}, which show their own",
                "one of the two",
                "leave out data.few_shot; theirs are demonstrations.few_shot and demonstrations.retrieval_k",
            )
        check_search(rates_of(self, variant) for variant in parsed if trains(variant))
        if self.skip_training:
            for variant in parsed:
                _check_saved(self, variant)


def _check_saved(config: AtomicConfig, variant: Variant) -> None:
    """Refuses to measure without training what was not saved by an earlier run."""
    if not learns(variant):
        return
    if variant.method in ("tokmem", "tokmem_dc"):
        saved, given, do = "a saved bank", config.load_task_tokens, "give its folder as load_task_tokens"
    elif variant.method in ("lora", "replay"):
        saved, given, do = "a saved adapter", config.lora.load_model, "give its folder as lora.load_model"
    else:
        saved, given, do = "methods that load what they know", "", "leave it out, or train"
    if not given:
        raise ConfigError(f"skip_training and method {variant.name}", saved, do)


CONFIG = AtomicConfig


def run(
    config: AtomicConfig,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Backbone | None = None,
) -> dict[str, Any]:
    """Runs an experiment and writes its folder.

    Args:
        config: what to run.
        folder: receives `config.yaml` and `summary.json`, and for each cell (method, prompt mode, seed) its
            metrics, scores, predictions, bank and checkpoints.
        resume: go on with the run that the folder holds; finished blocks are not run again.
        workers: processes that share the work, a method and prompt mode at a time; each loads the backbone.
        backbone: the one that the config names, where it is loaded already.

    Returns:
        the summary, as written: `rows`, one for each method, prompt mode and stage, means over the seeds;
        `forgetting`, where there are several stages.

    Raises:
        ConfigError: the folder holds a run (`resume` is not set) or one of another config.
        TokMemError: backbone, corpus or bank cannot be used.
    """
    backbone = backbone or config.backbone.load()
    experiments = prepare(config, folder, backbone)
    corpus, blocks = experiments[0].corpus, experiments[0].blocks
    for name, reason in corpus.skipped.items():
        logger.warning("skipped %s: %s", name, reason)
    alike = near_duplicates(_instructions(corpus))
    for pair in alike:
        logger.warning("%s and %s ask for nearly the same", pair.first, pair.second)
    with RunFolder(folder, resume=resume) as out:
        out.write_config(config)
        if workers > 1:
            run_parts(config, folder, workers)  # what it finished is read back below
        cells, losses = [], {}
        for number, prompt, variant in parts(config):
            experiment = experiments[number]
            rows, losses[experiment.label(f"{variant.name}/{prompt}")] = experiment.rows(variant, prompt)
            cells += rows
        summary = {
            "name": config.name,
            "track": config.track,
            "rows": mean_rows(cells),
            "forgetting": forgetting(cells, corpus.names, blocks),
            "probes": probes(cells),
            **searched(losses),
            "procedures": list(corpus.names),
            "skipped": dict(corpus.skipped),
            "near_duplicates": [[pair.first, pair.second, round(pair.similarity, 4)] for pair in alike],
            "examples": {s: len(corpus.examples(s)) for s in SPLITS},
            "backbone": backbone.id,
            "provenance": provenance(
                config.seeds[0],
                corpus.checksum,
                backbone.fingerprint,
                str(backbone.device),
                backbone.source_sha256,
            ),
        }
        out.write_summary(summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def prepare(config: AtomicConfig, folder: Path, backbone: Backbone) -> list[Experiment]:
    """The experiment with its corpus, once for each of `train_sizes`.

    Raises:
        TokMemError: the corpus cannot be used, or not for this.
    """
    check_scorer()
    corpus = load_corpus(config.data, backbone)
    blocks = plan(len(corpus.names), config.stages, config.schedule, config.block_size)
    _check_corpus(config, corpus)
    sizes = config.train_sizes or (None,)
    return [Experiment(config, backbone, corpus, blocks, folder, size) for size in sizes]


def parts(config: AtomicConfig) -> list[tuple[int, PromptMode, Variant]]:
    """What can be run apart: number of the training size, prompt mode and method."""
    sizes = range(len(config.train_sizes) or 1)
    return [(n, prompt, variant) for n in sizes for prompt in config.prompts for variant in variants(config)]


def run_parts(config: AtomicConfig, folder: Path, workers: int) -> None:
    """Runs the parts in several processes; each leaves its cells in the folder."""
    share(workers, _run_part, [(config, folder, number) for number in range(len(parts(config)))])


def _run_part(config: AtomicConfig, folder: Path, number: int) -> None:
    size, prompt, variant = parts(config)[number]
    _prepared(config, folder)[size].rows(variant, prompt)


@lru_cache(maxsize=1)
def _prepared(config: AtomicConfig, folder: Path) -> list[Experiment]:
    return prepare(config, folder, config.backbone.load())


def cell_name(method: str, prompt: str, seed: int) -> str:
    """What the files of one method, prompt mode and seed are called; its bank is `banks/<name>`."""
    return f"{method}-{prompt.replace('+', '-')}-{seed}"


def _instructions(corpus: Corpus) -> list[Procedure]:
    """The procedures, described by the instruction of their first example where there is one."""
    first = {name: next((e.instruction for e in corpus.test[name]), "") for name in corpus.names}
    return [Procedure(p.name, first[p.name] or p.description) for p in corpus.procedures]


def _check_corpus(config: AtomicConfig, corpus: Corpus) -> None:
    """Refuses before the first step what would fail after the last."""
    if config.rates and not corpus.examples("validation"):
        raise ConfigError("rates to choose from and no validation examples", "val_size of at least 1")
    if not config.skip_training and any(map(learns, variants(config))):
        for name, examples in corpus.train.items():
            if not examples:
                raise DataError(f"no training examples of {name!r}", "at least one", "raise train_size")
    for example in (e for split in SPLITS for e in corpus.examples(split)):
        if len(example.turns) != 1:
            raise DataError(
                f"example {example.id}: {len(example.turns)} turns", "one: this track recalls one procedure"
            )


@dataclass
class Experiment:
    """What all cells have in common."""

    config: AtomicConfig
    backbone: Backbone
    corpus: Corpus
    blocks: Sequence[Block]
    out: Path
    train_size: int | None = None

    def __post_init__(self) -> None:
        if self.train_size is not None:
            cut = {name: examples[: self.train_size] for name, examples in self.corpus.train.items()}
            short = next((name for name, examples in cut.items() if len(examples) < self.train_size), None)
            if short is not None:
                raise ConfigError(
                    f"train_sizes up to {self.train_size}, and {len(cut[short])} examples of {short!r}",
                    f"data.train_size of at least {self.train_size}",
                )
            self.corpus = replace(self.corpus, train=cut)

    def label(self, name: str) -> str:
        """A name that tells training sizes apart, where there are several."""
        return name if self.train_size is None else f"{name}-n{self.train_size}"

    def rows(self, variant: Variant, prompt: PromptMode) -> tuple[list[dict[str, Any]], Losses]:
        """A method's rows of all stages and seeds, and the losses that its rate was chosen by."""
        losses = self.try_rates(variant, prompt)
        rate = best_rate(losses)
        known = {"method": variant.name, "prompt": prompt, "train_size": self.train_size}
        seeds = self.config.seeds if trains(variant) else self.config.seeds[:1]
        cells = [self.cell(variant, prompt, seed, rate).run() for seed in seeds]
        return [known | row for cell in cells for row in cell], losses

    def cell(self, variant: Variant, prompt: PromptMode, seed: int, rate: float | None) -> Cell:
        """One method, prompt mode and seed."""
        config = self.config
        order = Order(config, self.backbone, self.corpus, prompt, seed, rate)
        name = self.label(cell_name(variant.name, prompt, seed))
        return Cell(
            name=name,
            key=name if rate is None else f"{name}-{rate:g}",
            build=lambda: build(variant, order),
            corpus=self.corpus,
            blocks=self.blocks,
            out=self.out,
            probes=() if prompt == "query" else config.probes,
            learns=learns(variant) and not config.skip_training,
            origin={
                "experiment": config.name,
                "settings": {"seed": seed},
                "provenance": provenance(
                    seed,
                    self.corpus.checksum,
                    self.backbone.fingerprint,
                    str(self.backbone.device),
                    self.backbone.source_sha256,
                ),
            },
        )

    def try_rates(self, variant: Variant, prompt: PromptMode) -> Losses:
        """The validation loss of each rate on the first stage's tasks with the first seed."""
        rates = rates_of(self.config, variant)
        if not rates or self.config.skip_training:
            return {}
        first = Block(0, next(b.end for b in self.blocks if b.measured), measured=True)
        losses = {}
        for rate in rates:
            cell = self.cell(variant, prompt, self.config.seeds[0], rate)
            # Learned together: where the run does so too, its first block is trained already.
            key = cell.block_key(first) + ("" if self.blocks[0] == first else "-choice")
            loss = learn(cell.build(), self.corpus, first, self.out, key).validation_loss
            assert loss is not None, "there are validation examples"
            losses[rate] = loss
        return losses
