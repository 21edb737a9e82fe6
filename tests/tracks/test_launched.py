"""Experiments in two launched processes give what they give in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from tests.tracks.launched_run import CONFIGS, fail, main, run_all
from tests.tracks.test_killed import TIMED
from tests.train.test_parallel import free_port
from tokmem.errors import ConfigError
from tokmem.tracks.run import _take_shares, run
from tokmem.train import parallel
from tokmem.train.parallel import Processes, alone


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without times, with three digits after the point."""
    kept = [{name: value for name, value in row.items() if name not in TIMED} for row in rows]
    return json.loads(json.dumps(kept), parse_float=lambda text: round(float(text), 3))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_processes_run_experiments_like_one(tmp_path: Path) -> None:
    """Jobs are equal bit for bit; what is trained together is equal within 1e-4."""
    several, single = tmp_path / "several", tmp_path / "single"
    several.mkdir()
    single.mkdir()
    torch.multiprocessing.spawn(main, (free_port(), several), nprocs=2)
    run_all(single)
    told = [json.loads((several / f"told{index}.json").read_text()) for index in (0, 1)]
    assert told[0] == told[1], "every process returns the summary"
    wanted = json.loads((single / "told0.json").read_text())
    for name in CONFIGS:
        assert files(several / name) == files(single / name)
        assert told[0][name] == json.loads((several / name / "summary.json").read_text()) | {
            "wall_seconds": told[0][name]["wall_seconds"]
        }
        assert rounded(told[0][name]["rows"]) == rounded(wanted[name]["rows"])
        for path in (single / name / "banks").rglob("*.safetensors"):
            own = load_file(several / path.relative_to(single))
            for key, tensor in load_file(path).items():
                close = 0.0 if name == "jobs" else 1e-4
                torch.testing.assert_close(own[key], tensor, rtol=close, atol=close)


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    context, port = torch.multiprocessing.get_context("spawn"), free_port()
    both = [context.Process(target=fail, args=(index, port, tmp_path)) for index in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 1]
    assert "another process of this run has ended" in (tmp_path / "said").read_text()


def test_launched_processes_start_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokmem.tracks.run.join_processes", lambda: Processes(0, 2))
    with pytest.raises(ConfigError, match="2 launched processes, 3 workers"):
        run(CONFIGS["jobs"], tmp_path, workers=3)


def test_the_others_write_a_copy_and_read_what_is_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "wait", lambda self: None)
    folder = tmp_path / "run"
    (folder / "common").mkdir(parents=True)
    (folder / "state").write_text("first")
    with Processes(1, 2).own_folder(folder, "common") as own:
        assert (own / "state").read_text() == "first"
        (own / "state").write_text("mine")
        (folder / "common" / "new").write_text("read by all")
        assert (own / "common" / "new").read_text() == "read by all"
    assert not own.exists()
    assert (folder / "state").read_text() == "first"
    assert (folder / "common" / "new").exists()
    with Processes(0, 2).own_folder(folder, "common") as own:
        assert own == folder


def test_alone_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with alone():
        assert parallel.join_processes() == Processes()


class Listed:
    """An experiment of five parts in three jobs, which lists what has run."""

    parts = ("a1", "a2", "b1", "c1", "c2")

    def __init__(self) -> None:
        self.ran: list[str] = []

    def job(self, part: str) -> str:
        return part[0]

    def rank(self, part: str) -> int:
        return 0

    def run(self, part: str) -> None:
        self.ran.append(part)


class Unlinked(Processes):
    """A process that waits for nobody and hears a summary."""

    def wait(self) -> None:
        pass

    def from_first(self, make: Any) -> str:
        return '{"rows": []}'


@pytest.mark.parametrize(("index", "own"), [(1, ["b1"]), (2, ["c1", "c2"])])
def test_a_process_runs_every_nth_job(index: int, own: list[str], tmp_path: Path) -> None:
    made: Any = Listed()
    assert _take_shares(made, None, tmp_path, cast(Any, None), False, Unlinked(index, 3)) == {"rows": []}
    assert made.ran == own
