"""Runs the jobs of an experiment as tasks of a Ray cluster.

The machines need no common folder. A task gets the files of the run's folder, runs its job in a folder of its
own, and returns the files that are new or changed. The driver alone writes the run's folder, so a run that is
stopped resumes as usual. If a machine dies, Ray runs its unfinished jobs again on others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from tokmem.errors import ConfigError
from tokmem.files import atomic_write_bytes
from tokmem.log import logger, progress

Work = Callable[[Any, Path, Sequence[int]], None]
RETRIES = 3  # how often a job begins again after its machine or process has died


def share_on_cluster(work: Work, config: Any, folder: Path, jobs: Sequence[Sequence[int]]) -> None:
    """Calls `work(config, folder, job)` for each job on the machines of a Ray cluster.

    It joins the cluster that `RAY_ADDRESS` names or that runs on this machine, or starts one of this machine
    alone. A task takes a GPU if the cluster has any, else a processor core.

    Args:
        work: a function of a module; it leaves its results in the folder.
        config: of the experiment. Paths in it must exist on every machine.
        folder: of the run.
        jobs: the numbers of each job's parts.

    Raises:
        ConfigError: Ray is not installed.
        Exception: a job raised it; other jobs are cancelled.
    """
    try:
        import ray
    except ImportError as error:
        how = "pip install 'tokmem[ray]', on every machine"
        raise ConfigError("Ray is not installed", "the extra `ray`", how) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    logger.info("%d jobs on %d machines", len(jobs), sum(node["Alive"] for node in ray.nodes()))
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_run_job)
    run, files = uuid4().hex, ray.put(_contents(folder))
    waiting = [task.remote(work, run, config, files, job) for job in jobs]
    try:
        with progress(len(jobs), "jobs", unit="job") as bar:
            while waiting:
                (done,), waiting = ray.wait(waiting)
                _write(folder, ray.get(done))
                bar.update()
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    finally:
        for one in waiting:
            ray.cancel(one, force=True)


def _run_job(
    work: Work, run: str, config: Any, files: Mapping[str, bytes], job: Sequence[int]
) -> dict[str, bytes]:
    """Runs a job in a folder of this process; returns the files that are new or changed."""
    folder = Path(_place(run).name) / "run"
    if not folder.exists():
        folder.mkdir()
        _write(folder, files)
    before = {name: _digest(data) for name, data in _contents(folder).items()}
    work(config, folder, job)
    return {name: data for name, data in _contents(folder).items() if before.get(name) != _digest(data)}


@lru_cache(maxsize=1)
def _place(run: str) -> TemporaryDirectory[str]:
    """The folder of this process for a run; it goes when the next run comes, or the process ends."""
    return TemporaryDirectory(prefix="tokmem-")


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their path in it."""
    paths = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder. Files that say what is done come last: the driver may be killed."""
    for name in sorted(files, key=lambda name: (name.startswith("cells/"), name)):
        atomic_write_bytes(folder / name, files[name])
