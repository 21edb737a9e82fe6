"""Compositional recall: tools as tokens, called in chains, learned in rounds. Load, adapt, learn, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.model.backbone import Backbone
from tokmem.provenance import RunFolder, provenance
from tokmem.tracks.adaptation import Auxiliary
from tokmem.tracks.processes import share
from tokmem.tracks.rates import Losses, best_rate, searched
from tokmem.tracks.round_cell import RoundCell
from tokmem.tracks.rounds import Round, checksum, make_rounds
from tokmem.tracks.tool_build import (
    Order,
    adaptation_of,
    build,
    check_means,
    lora_shape,
    method_name,
    rates_of,
    training_name,
    variants,
)
from tokmem.tracks.tool_config import CompositionalConfig
from tokmem.tracks.tool_data import ToolSource
from tokmem.tracks.tool_summary import forgetting, mean_rows, norms
from tokmem.tracks.variants import Variant

CONFIG = CompositionalConfig


def run(
    config: CompositionalConfig,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Backbone | None = None,
) -> dict[str, Any]:
    """Runs an experiment and writes its folder.

    Args:
        config: what to run.
        folder: receives `config.yaml` and `summary.json`, for each cell (method, seed) its metrics, scores,
            predictions, bank and checkpoints, and the adapted backbone where one is made.
        resume: go on with the run that the folder holds; finished rounds are not run again.
        workers: processes that share the work, a method at a time; each loads the backbone.
        backbone: the one that the config names, where it is loaded already.

    Returns:
        the summary, as written: `rows`, one for each method, round, range of tools measured and number of
        calls, means over the seeds; `forgetting` and `norms` by round.

    Raises:
        ConfigError: the folder holds a run (`resume` is not set) or one of another config.
        TokMemError: backbone or tools cannot be used.
    """
    backbone = backbone or config.backbone.load()
    source = ToolSource(config.data)
    for reason, count in source.broken.items():
        logger.warning("%d rows left out: %s", count, reason)
    with RunFolder(folder, resume=resume) as out:
        out.write_config(config)
        experiments = prepare(config, folder, backbone, source)
        if workers > 1:
            run_parts(config, folder, workers)  # what it finished is read back below
        rows, lengths, losses = [], [], {}
        for number, variant in parts(config):
            experiment = experiments[number]
            measured, grown, losses[experiment.label(variant.name)] = experiment.rows(variant)
            rows += measured
            lengths += grown
        rounds = [one for experiment in experiments for one in experiment.rounds]
        ranges = [str(tools) for tools, _ in config.rounds.plan()]
        summary = {
            "name": config.name,
            "track": config.track,
            "rows": mean_rows(rows),
            "forgetting": forgetting(rows, ranges),
            "norms": norms(lengths),
            **searched(losses),
            "rounds": [told for experiment in experiments for told in experiment.described()],
            "procedures": list(dict.fromkeys(p.name for one in rounds for p in one.data.procedures)),
            # Every limit learns from queries of its own, and is tested on the same.
            "examples": _counts(rounds) | {"test": _counts(experiments[0].rounds)["test"]},
            "broken_rows": source.broken,
            "adaptations": {e.label("auxiliary"): e.adapted[1] for e in experiments if e.adapted},
            "backbone": backbone.id,
            "provenance": replace(experiments[0], checksum=checksum(rounds)).provenance(config.seeds[0]),
        }
        out.write_summary(summary)
    if config.save_checkpoints:
        atomic_write_json(folder / "checkpoints" / "training_summary.json", summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def prepare(
    config: CompositionalConfig, folder: Path, backbone: Backbone, source: ToolSource
) -> list[Experiment]:
    """The experiment with its rounds, once for each of `call_limits`; backbones are adapted here.

    Raises:
        TokMemError: the tools cannot be used, or a library that a method answers with is missing.
    """
    made = []
    for limit in config.call_limits or (None,):
        rounds = make_rounds(config.rounds, config.data, source, limit)
        made.append(Experiment(config, backbone, checksum(rounds), rounds, folder, limit))
    for variant in variants(config):  # what fails early, fails before the rest takes its time
        check_means(
            config, variant, backbone, [tool for one in made[0].rounds for tool in one.data.procedures]
        )
    for experiment in made:
        experiment.adapt(source)
    return made


def parts(config: CompositionalConfig) -> list[tuple[int, Variant]]:
    """What can be run apart: number of the call limit, and method."""
    return [(n, variant) for n in range(len(config.call_limits) or 1) for variant in variants(config)]


def run_parts(config: CompositionalConfig, folder: Path, workers: int) -> None:
    """Runs the parts in several processes; each leaves its cells in the folder.

    Parts that share their training are one process's: the second finds what the first has learned.
    """
    jobs: dict[tuple[int, str], list[int]] = {}
    for number, (limit, variant) in enumerate(parts(config)):
        jobs.setdefault((limit, training_name(variant)), []).append(number)
    share(workers, _run_parts, [(config, folder, numbers) for numbers in jobs.values()])


def _run_parts(config: CompositionalConfig, folder: Path, numbers: Sequence[int]) -> None:
    for limit, variant in (parts(config)[number] for number in numbers):
        _prepared(config, folder)[limit].rows(variant)


@lru_cache(maxsize=1)
def _prepared(config: CompositionalConfig, folder: Path) -> list[Experiment]:
    return prepare(config, folder, config.backbone.load(), ToolSource(config.data))


def _counts(rounds: Sequence[Round]) -> dict[str, int]:
    return {
        "train": sum(len(one.data.train) for one in rounds),
        "validation": sum(len(one.data.validation) for one in rounds),
        "test": sum(len(one.data.test) for one in rounds),
    }


@dataclass
class Experiment:
    """What all cells have in common.

    Attributes:
        config: the experiment.
        backbone: as it was loaded.
        checksum: of the rounds.
        rounds: with their queries.
        out: the run's folder.
        limit: most calls in a training query; None: as the data section says.
        adapted: the backbone adapted on auxiliary tools and what making it took, where a method wants it.
    """

    config: CompositionalConfig
    backbone: Backbone
    checksum: str
    rounds: Sequence[Round]
    out: Path
    limit: int | None = None
    adapted: tuple[Backbone, dict[str, Any]] | None = None

    def adapt(self, source: ToolSource) -> None:
        """Adapts the backbone on auxiliary tools, or reads it back, where a method stands on it."""
        config = self.config
        if all(adaptation_of(config, variant) != "auxiliary" for variant in variants(config)):
            return
        auxiliary = Auxiliary(
            config.adaptation,
            config.data,
            lora_shape(config, {}),
            config.training,
            config.start,
            {str(one.tools): one.data for one in self.rounds},
            config.max_length,
        )
        name = self.label("adapted")
        self.adapted = auxiliary.backbone(self.backbone, source, self.out, name, self.limit)

    def label(self, name: str) -> str:
        """A name that tells call limits apart, where there are several."""
        return name if self.limit is None else f"{name}-{self.limit}calls"

    def described(self) -> list[dict[str, Any]]:
        """Its rounds, as a summary tells them."""
        return [
            {
                "call_limit": self.limit,
                "tools": str(one.tools),
                "epochs": one.epochs,
                "procedures": [tool.name for tool in one.data.procedures],
                "examples": _counts([one]),
                "data_checksum": checksum([one]),
            }
            for one in self.rounds
        ]

    def provenance(self, seed: int, backbone: Backbone | None = None) -> dict[str, Any]:
        """Where a result of this experiment comes from."""
        chosen = backbone or self.backbone
        return provenance(seed, self.checksum, chosen.fingerprint, str(chosen.device), chosen.source_sha256)

    def rows(self, variant: Variant) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Losses]:
        """A method's rows and norms of all rounds and seeds, and the losses that its rate was chosen by."""
        losses = self.try_rates(variant)
        rate = best_rate(losses)
        adaptation = adaptation_of(self.config, variant)
        spent = self.adapted[1] if self.adapted and adaptation == "auxiliary" else {}
        known = {
            "method": method_name(self.config, variant),
            "adaptation": adaptation,
            "adaptation_seconds": spent.get("train_seconds"),
            "adaptation_lora_parameters": spent.get("lora_parameters"),
            "train_max_calls": self.limit or max(len(e.turns) for one in self.rounds for e in one.data.train),
        }
        states = [self.cell(variant, seed, rate).run() for seed in self.config.seeds]
        measured = [known | row for state in states for row in state.rows]
        return measured, [known | row for state in states for row in state.norms], losses

    def cell(self, variant: Variant, seed: int, rate: float | None) -> RoundCell:
        """One method and seed."""
        config, adaptation = self.config, adaptation_of(self.config, variant)
        backbone = self.adapted[0] if self.adapted and adaptation == "auxiliary" else self.backbone
        order = Order(config, backbone, adaptation, seed, rate)
        trained = self.label(f"{training_name(variant)}-{seed}")
        return RoundCell(
            name=self.label(f"{variant.name}-{seed}"),
            key=trained if rate is None else f"{trained}-{rate:g}",
            build=lambda: build(variant, order),
            rounds=self.rounds,
            out=self.out,
            eval_all_previous=config.rounds.eval_all_previous,
            save_checkpoints=config.save_checkpoints,
            origin={
                "experiment": config.name,
                "settings": {"seed": seed},
                "provenance": self.provenance(seed, backbone),
            },
        )

    def try_rates(self, variant: Variant) -> Losses:
        """The validation loss of each rate after the first round with the first seed."""
        losses = {}
        for rate in rates_of(self.config, variant):
            cell = self.cell(variant, self.config.seeds[0], rate)
            loss = cell.learn(cell.build(), 0).validation_loss
            assert loss is not None, "there are validation examples"
            losses[rate] = loss
        return losses
