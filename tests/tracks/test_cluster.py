"""The parts of an experiment on a Ray cluster of two machines, one of which dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import save_model
from tests.tracks.slow_track import SlowConfig
from tokmem.errors import ConfigError
from tokmem.model.settings import BackboneConfig
from tokmem.tracks import cluster as on_cluster
from tokmem.tracks import registry
from tokmem.tracks.run import run

ROOT = Path(__file__).parents[2]
ROWS = [{"number": n, "square": n * n} for n in (1, 2, 3)]
Start = Callable[..., tuple[SlowConfig, Path]]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines of one core each, beside a head that runs nothing."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    small = {"object_store_memory": 80_000_000}
    made = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    try:
        made.machines = [made.add_node(num_cpus=1, **small) for _ in range(2)]
        ray.init(address=made.address, log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *numbers: int) -> SlowConfig:
    monkeypatch.setitem(registry.MODULES, "slow", "tests.tracks.slow_track")
    (tmp_path / "signs").mkdir()
    backbone = BackboneConfig(str(save_model(tmp_path / "model", 0)))
    return SlowConfig(backbone=backbone, numbers=numbers or (1, 2, 3), signs=str(tmp_path / "signs"))


def started(one: SlowConfig) -> list[list[str]]:
    """Part and machine of each start."""
    return [path.name.split("-")[:2] for path in Path(one.signs).glob("*-*")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a machine is killed here as POSIX does it")
def test_parts_of_a_dead_machine_run_again(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, folder = config(tmp_path, monkeypatch), tmp_path / "run"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, one, folder, cluster=True)
        until = time.monotonic() + 240
        while len({where for _, where in started(one)}) < 2:
            assert not running.done() or running.result()
            assert time.monotonic() < until, "two parts should run"
            time.sleep(0.1)
        dead = cluster.machines[0]
        cluster.remove_node(dead, allow_graceful=False)
        Path(one.signs, "go").touch()
        assert running.result()["rows"] == ROWS
    again = [part for part, where in started(one) if where == dead.node_id]
    assert len(again) == 1
    assert sum(part == again[0] for part, _ in started(one)) == 2, "its part began again"
    assert sorted(path.name for path in (folder / "cells").iterdir()) == ["1.json", "2.json", "3.json"]
    count = len(started(one))
    assert run(one, folder, resume=True, cluster=True)["rows"] == ROWS
    assert len(started(one)) == count, "finished parts are read back"


@pytest.mark.slow
def test_the_error_of_a_part_ends_the_run(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = config(tmp_path, monkeypatch, -1, 2)
    Path(one.signs, "go").touch()
    with pytest.raises(ValueError, match="part -1 fails"):
        run(one, tmp_path / "run", cluster=True)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_job_returns_what_it_has_changed() -> None:
    def work(config: str, folder: Path, job: list[int]) -> None:
        (folder / "cells").mkdir(exist_ok=True)
        (folder / "cells" / f"{job[0]}.json").write_text(config)
        (folder / "changed").write_text(f"{job[0]}")

    files = {"kept": b"kept", "changed": b"old"}
    first = on_cluster._run_job(work, "run", "one", files, [1])
    assert first == {"cells/1.json": b"one", "changed": b"1"}
    second = on_cluster._run_job(work, "run", "one", files, [2])
    assert second == {"cells/2.json": b"one", "changed": b"2"}, "the folder stays for the next job"
    assert "cells/1.json" not in on_cluster._run_job(work, "other", "one", files, [2])


def test_without_ray_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed"):
        on_cluster.share_on_cluster(print, None, Path(), [])
