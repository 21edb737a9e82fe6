"""Embedding capacity: how much a few memory tokens hold, and where they stand best, before a query or after.

Two tasks: `memorise` passages word for word, and `reason` through word problems. Load, train cell by cell,
measure, write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

from tokmem.bank.init import Start
from tokmem.config import check_least, check_once, setting
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json, read_json
from tokmem.model.backbone import Backbone
from tokmem.provenance import RunFolder, provenance
from tokmem.recall.settings import RecallSettings
from tokmem.tracks import memorise, reason
from tokmem.tracks.backbone import BackboneConfig
from tokmem.tracks.memorise import PassagesConfig
from tokmem.tracks.processes import share
from tokmem.tracks.reason import ProblemsConfig
from tokmem.tracks.variants import Variant
from tokmem.train.memorise import MemoriseSettings
from tokmem.train.settings import FitSettings

Task = Literal["memorise", "reason"]


@dataclass(frozen=True)
class CapacityConfig:
    """One experiment of the capacity track."""

    track: Literal["capacity"] = setting("capacity", "the track")
    name: str = setting("capacity", "names the run and its result file")
    task: Task = setting("memorise", "memorise passages, or reason through word problems")
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    methods: tuple[str, ...] = setting(
        ("tokmem", "prefix"), "what to compare; `prefix+placement=before_bos` changes a setting of one"
    )
    embeddings: tuple[int, ...] = setting((1, 2, 5), "memory tokens a procedure, number after number")
    start: Start = setting("sampled", "starting rows of memory tokens")
    seeds: tuple[int, ...] = setting(
        (0,),
        "reason: of starting rows and order, results are means; memorise: the first draws passages and rows",
    )
    passages: PassagesConfig = field(default_factory=PassagesConfig)
    memorise: MemoriseSettings = field(default_factory=MemoriseSettings)
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    training: FitSettings = field(default_factory=FitSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    system_prompt: str = setting("", "stands before each word problem; none: the template's own default")
    chat_template: bool = setting(True, "whether word problems are asked in the backbone's chat format")
    max_length: int = setting(1024, "most tokens in a sequence")

    def __post_init__(self) -> None:
        for name in ("methods", "embeddings", "seeds"):
            if not getattr(self, name):
                raise ConfigError(f"no {name}", "at least one")
        check_once(vars(self), ("methods", "embeddings", "seeds"))
        check_least(vars(self), {"embeddings": 1, "max_length": 1})
        variants(self)


CONFIG = CapacityConfig
_TASKS = {"memorise": memorise, "reason": reason}


class Experiment(Protocol):
    """A task made ready.

    Attributes:
        parts: what can be run apart, by name.
        facts: what a summary says beside its rows.
        checksum: of the data.
    """

    parts: Sequence[str]
    facts: dict[str, Any]
    checksum: str

    def run(self, part: str, out: Path) -> list[dict[str, Any]]:
        """Trains and measures one part: a row for each run or seed."""

    def summarise(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`rows`, means over runs or seeds, and what else is shown of all parts."""


def variants(config: CapacityConfig) -> tuple[Variant, ...]:
    """What an experiment compares.

    Raises:
        ConfigError: an unknown method or setting.
    """
    return tuple(Variant.parse(text, _TASKS[config.task].METHODS) for text in config.methods)


def run(
    config: CapacityConfig,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Backbone | None = None,
) -> dict[str, Any]:
    """Runs an experiment and writes its folder.

    Args:
        config: what to run.
        folder: receives `config.yaml`, `summary.json`, and for each part its scores in `cells/`.
        resume: go on with the run that the folder holds; finished parts are not run again.
        workers: processes that share the parts; each loads the backbone.
        backbone: the one that the config names, where it is loaded already.

    Returns:
        the summary, as written: `rows`, means over runs or seeds.

    Raises:
        ConfigError: the folder holds a run (`resume` is not set) or one of another config.
        TokMemError: backbone or data cannot be used.
    """
    backbone = backbone or config.backbone.load()
    experiment = prepare(config, backbone)
    with RunFolder(folder, resume=resume) as out:
        out.write_config(config)
        if workers > 1:
            share(workers, _run_part, [(config, folder, part) for part in experiment.parts])
        rows = [row for part in experiment.parts for row in cell(experiment, part, folder)]
        summary = {
            "name": config.name,
            "track": config.track,
            "task": config.task,
            **experiment.summarise(rows),
            **experiment.facts,
            "backbone": backbone.id,
            "provenance": provenance(
                config.seeds[0],
                experiment.checksum,
                backbone.fingerprint,
                str(backbone.device),
                backbone.source_sha256,
            ),
        }
        out.write_summary(summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def prepare(config: CapacityConfig, backbone: Backbone) -> Experiment:
    """The task of a config with its data.

    Raises:
        TokMemError: the data cannot be used, or not for this.
    """
    experiment: Experiment = _TASKS[config.task].prepare(config, variants(config), backbone)
    return experiment


def cell(experiment: Experiment, part: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of one part; read back where the folder has them already.

    Raises:
        TokMemError: the file that has them is damaged.
    """
    path = folder / "cells" / f"{part}.json"
    if not path.is_file():
        atomic_write_json(path, experiment.run(part, folder))
    rows: list[dict[str, Any]] = read_json(path, list, f"remove {path} and resume: this part is run again")
    return rows


def _run_part(config: CapacityConfig, folder: Path, part: str) -> None:
    cell(_prepared(config), part, folder)


@lru_cache(maxsize=1)
def _prepared(config: CapacityConfig) -> Experiment:
    return prepare(config, config.backbone.load())
