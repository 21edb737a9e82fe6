"""The experiment loop: prepare, run the parts, summarise. Every track is run by it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

from tokmem.errors import ConfigError
from tokmem.model.backbone import Backbone
from tokmem.provenance import RunFolder
from tokmem.tracks.cluster import share_on_cluster
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.origin import provenance_of
from tokmem.tracks.registry import track_of_config
from tokmem.tracks.workers import share
from tokmem.train.parallel import Processes, alone, join_processes

Spread: TypeAlias = Callable[[Sequence[Sequence[int]]], None]
"""Runs jobs, each the numbers of its parts, somewhere else; the run's folder then holds their files."""


def run(
    config: Any,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    cluster: bool = False,
    backbone: Backbone | None = None,
) -> dict[str, Any]:
    """Runs an experiment and writes its folder.

    Call it in every launched process (see `tokmem.train.parallel`). If there are several jobs, each process
    runs its share of them, as one process would; it writes the files of its parts. A single job is trained
    and measured by all processes together, and the first one writes.

    Args:
        config: the config of a track.
        folder: receives `config.yaml`, `summary.json`, and the files of each part: metrics, checkpoints,
            progress (`cells/`), predictions and saved knowledge.
        resume: continue the run that the folder holds; finished parts are not run again.
        workers: processes to start that share the parts; each loads the backbone.
        cluster: whether the machines of a Ray cluster share the parts (see `tokmem.tracks.cluster`).
        backbone: the backbone that the config names, if it is loaded already.

    Returns:
        the summary as written, with `rows` and what else the track's `summarise` tells.

    Raises:
        ConfigError: the folder holds a run and `resume` is not set, or a run of another config or other data;
            or several ways to share the parts are asked for; or Ray is not installed.
        TokMemError: the backbone or the data cannot be used.
    """
    processes = join_processes()
    if sum((processes.count > 1, workers > 1, cluster)) > 1:
        got = f"{processes.count} launched processes, {workers} workers{', a cluster' if cluster else ''}"
        raise ConfigError(got, "one way to share the parts", "leave the others out")
    backbone = backbone or config.backbone.load()
    prepare = track_of_config(config).prepare
    experiment = prepare(config, folder, backbone)
    if processes.count > 1 and len(_jobs(experiment)) > 1:
        return _take_shares(experiment, config, folder, backbone, resume, processes)
    spread: Spread | None = partial(_start_workers, workers, config, folder) if workers > 1 else None
    if cluster:
        spread = partial(share_on_cluster, _run_parts, config, folder)
    with processes.own_folder(folder, "checkpoints") as own:
        if not processes.first:
            experiment = prepare(config, own, backbone)
        summary = carry_out(experiment, config, own, backbone, resume=resume, spread=spread)
        return dict(processes.value_of_first(lambda: summary))


def carry_out(
    experiment: Experiment,
    config: Any,
    folder: Path,
    backbone: Backbone,
    *,
    resume: bool = False,
    spread: Spread | None = None,
) -> dict[str, Any]:
    """`run` with an experiment that is prepared already; `spread` runs its jobs elsewhere."""
    with RunFolder(folder, resume=resume, device=str(backbone.device)) as out:
        out.write_config(config)
        out.write_data(config, experiment.checksum, backbone.fingerprint)
        experiment.begin()
        if spread is not None:
            spread(_jobs(experiment))
        came = provenance_of(config.seeds[0], experiment.checksum, backbone)
        summary = {
            "name": config.name,
            "track": config.track,
            # Parts that other processes ran are read back here.
            **experiment.summarise([experiment.run(part) for part in experiment.parts]),
            "backbone": backbone.id,
            "provenance": came | {"device": ", ".join(out.devices)},  # a resumed run may have moved
        }
        out.write_summary(summary)
        experiment.end(summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def _jobs(experiment: Experiment) -> list[list[int]]:
    """The numbers of the parts, grouped by job; jobs of the lowest rank come first."""
    parts = experiment.parts
    jobs: dict[Hashable, list[int]] = {}
    for number, part in enumerate(parts):
        jobs.setdefault(experiment.job(part), []).append(number)
    return sorted(jobs.values(), key=lambda job: min(experiment.rank(parts[number]) for number in job))


def _start_workers(workers: int, config: Any, folder: Path, jobs: Sequence[Sequence[int]]) -> None:
    share(workers, _run_parts, [(config, folder, numbers) for numbers in jobs])


def _take_shares(
    experiment: Experiment, config: Any, folder: Path, backbone: Backbone, resume: bool, processes: Processes
) -> dict[str, Any]:
    """Runs the jobs of this process; the first process begins, ends and tells the others the summary."""

    def spread(jobs: Sequence[Sequence[int]]) -> None:
        processes.wait()  # until the first process has begun
        for numbers in jobs[processes.index :: processes.count]:
            for number in numbers:
                experiment.run(experiment.parts[number])
        processes.wait()

    summary: dict[str, Any] = {}
    with alone():
        if processes.first:
            summary = carry_out(experiment, config, folder, backbone, resume=resume, spread=spread)
        else:
            spread(_jobs(experiment))
    return dict(processes.value_of_first(lambda: summary))


def _run_parts(config: Any, folder: Path, numbers: Sequence[int]) -> None:
    """Runs the parts of a job in a process of its own; their files hold the results."""
    experiment = _prepared(config, folder)
    for number in numbers:
        experiment.run(experiment.parts[number])


@lru_cache(maxsize=1)
def _prepared(config: Any, folder: Path) -> Experiment:
    return track_of_config(config).prepare(config, folder, config.backbone.load())
