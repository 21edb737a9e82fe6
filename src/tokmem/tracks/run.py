"""The experiment loop: prepare, run the parts, summarise. Every track is run by it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokmem.model.backbone import Backbone
from tokmem.provenance import RunFolder
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.registry import track_of_config
from tokmem.tracks.settings import provenance_of
from tokmem.tracks.workers import share


def run(
    config: Any,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Backbone | None = None,
) -> dict[str, Any]:
    """Runs an experiment and writes its folder.

    Args:
        config: the config of a track.
        folder: receives `config.yaml`, `summary.json`, and the files of each part: metrics, checkpoints,
            progress (`cells/`), predictions and saved knowledge.
        resume: continue the run that the folder holds; finished parts are not run again.
        workers: processes that share the parts; each loads the backbone.
        backbone: the backbone that the config names, if it is loaded already.

    Returns:
        the summary as written, with `rows` and what else the track's `summarise` tells.

    Raises:
        ConfigError: the folder holds a run and `resume` is not set, or it holds a run of another config.
        TokMemError: the backbone or the data cannot be used.
    """
    backbone = backbone or config.backbone.load()
    experiment = track_of_config(config).prepare(config, folder, backbone)
    return carry_out(experiment, config, folder, backbone, resume=resume, workers=workers)


def carry_out(
    experiment: Experiment,
    config: Any,
    folder: Path,
    backbone: Backbone,
    *,
    resume: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """`run` with an experiment that is prepared already."""
    with RunFolder(folder, resume=resume) as out:
        out.write_config(config)
        experiment.begin()
        if workers > 1:
            share(workers, _run_parts, [(config, folder, numbers) for numbers in _jobs(experiment)])
        summary = {
            "name": config.name,
            "track": config.track,
            # Parts that other processes ran are read back here.
            **experiment.summarise([experiment.run(part) for part in experiment.parts]),
            "backbone": backbone.id,
            "provenance": provenance_of(config.seeds[0], experiment.checksum, backbone),
        }
        out.write_summary(summary)
        experiment.end(summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def _jobs(experiment: Experiment) -> list[list[int]]:
    """The numbers of the parts, grouped by job."""
    jobs: dict[Hashable, list[int]] = {}
    for number, part in enumerate(experiment.parts):
        jobs.setdefault(experiment.job(part), []).append(number)
    return list(jobs.values())


def _run_parts(config: Any, folder: Path, numbers: Sequence[int]) -> None:
    """Runs the parts of a job in a process of its own; their files hold the results."""
    experiment = _prepared(config, folder)
    for number in numbers:
        experiment.run(experiment.parts[number])


@lru_cache(maxsize=1)
def _prepared(config: Any, folder: Path) -> Experiment:
    return track_of_config(config).prepare(config, folder, config.backbone.load())
