"""Processes that share work: their threads, and that they end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tokmem.errors import TokMemError
from tokmem.tracks.workers import cores, share, threads_each


def count_threads(path: Path) -> None:
    path.write_text(str(torch.get_num_threads()))


def write_forever(path: Path) -> None:
    while True:
        path.write_text(f"{os.getpid()} {time.time()}")
        time.sleep(0.05)


def killed(_: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_the_system_kills_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokMemError, match=r"a worker process ended.*--resume"):
        share(1, killed, [(tmp_path,)])


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_parent_leaves_no_process_at_work(tmp_path: Path, stop: signal.Signals) -> None:
    """An interruption that only the parent hears ends the workers, too; it does not wait for their jobs."""
    sign = tmp_path / "sign"
    code = f"""if __name__ == "__main__":
        from pathlib import Path
        from tests.tracks.test_workers import write_forever
        from tokmem.tracks.workers import share
        share(1, write_forever, [(Path({str(sign)!r}),)])"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path}) as parent:
        until = time.monotonic() + 60
        while not sign.exists() and time.monotonic() < until:
            time.sleep(0.05)
        parent.send_signal(stop)
        parent.wait(timeout=30)
    assert sign.exists()
    time.sleep(1.0)
    last = sign.read_text()
    time.sleep(0.5)
    assert sign.read_text() == last


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not bound to cores here")
def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        assert (cores(), threads_each(1), threads_each(2)) == (1, 1, 1)
    finally:
        os.sched_setaffinity(0, usual)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    assert [threads_each(workers) for workers in (1, 2, 3)] == [7, 3, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_each(2) is None


@pytest.mark.slow
def test_a_process_has_the_threads_that_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("tokmem.tracks.workers.cores", lambda: 8)
    share(4, count_threads, [(tmp_path / "threads",)])
    assert (tmp_path / "threads").read_text() == "1"
