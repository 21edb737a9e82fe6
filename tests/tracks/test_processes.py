"""Processes that share work: how many threads each has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tokmem.tracks.processes import cores, share, threads_each


def count_threads(path: Path) -> None:
    path.write_text(str(torch.get_num_threads()))


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
    monkeypatch.setattr("tokmem.tracks.processes.cores", lambda: 8)
    share(4, count_threads, [(tmp_path / "threads",)])
    assert (tmp_path / "threads").read_text() == "1"
