from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch

from tokmem import provenance as module
from tokmem.config import dump_config, load_config, setting
from tokmem.errors import ConfigError, TokMemError
from tokmem.provenance import RunFolder, SourceState, provenance, source_state
from tokmem.tracks.atomic.config import AtomicConfig


@dataclass(frozen=True)
class Config:
    steps: int = setting(3)


def test_provenance_says_where_from_and_not_who(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "source_state", lambda folder: SourceState("abc", True))
    record = provenance(7, "sha256:data", "sha256:backbone", "cuda:3", "sha256:file")
    assert {"python", "tokmem", "torch", "transformers"} == record["versions"].keys()
    assert record["versions"]["torch"] == torch.__version__
    today = datetime.now(timezone.utc).date().isoformat()
    assert {name: value for name, value in record.items() if name not in ("versions", "date")} == {
        "commit": "abc",
        "dirty": True,
        "seed": 7,
        "data_checksum": "sha256:data",
        "backbone_fingerprint": "sha256:backbone",
        "backbone_source_sha256": "sha256:file",
        "device": "cuda",
    }
    assert "backbone_source_sha256" not in provenance(7, "sha256:data", "sha256:backbone", "cuda:3")
    assert record["date"] <= today
    text = json.dumps(record)
    assert not [secret for secret in (socket.gethostname(), getpass.getuser(), os.sep) if secret in text]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_source_state_is_that_of_the_tracked_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, installed = tmp_path / "src", tmp_path / "venv"
    for folder in (package, installed):
        folder.mkdir()
        (folder / "a.py").write_text("a = 1\n")

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    assert source_state(package) == SourceState(None, None)
    git("add", "src")
    git("commit", "-q", "-m", "a")
    commit = git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert source_state(package) == SourceState(commit, False)
    assert source_state(installed) == SourceState(None, None)
    (package / "b.py").write_text("b = 1\n")
    assert source_state(package) == SourceState(commit, True)


def test_run_folder_holds_config_metrics_and_summary(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.write_config(Config(steps=4))
        run.metrics.write(1, {"loss": 2.0})
        run.write_summary({"accuracy": 50.0})
    assert load_config(Config, run.path / "config.yaml") == Config(steps=4)
    assert json.loads((run.path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 2.0}
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["accuracy"] == 50.0
    assert 0 <= summary["wall_seconds"] < 60


def test_the_clock_of_a_resumed_run_goes_on_from_its_last_file(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(Config())  # killed: nothing says that it has ended
    began = json.loads((tmp_path / "clock.json").read_text())["began"]
    cell = tmp_path / "cell.json"
    cell.touch()
    os.utime(cell, (began + 100, began + 100))
    os.utime(tmp_path / "config.yaml", (began + 1000, began + 1000))  # by hand, to add seeds
    assert 100 <= RunFolder(tmp_path, resume=True).seconds < 160
    os.utime(cell, (began - 100, began - 100))  # nothing was written since
    assert 100 <= RunFolder(tmp_path, resume=True).seconds < 160


def test_a_run_that_moved_names_all_its_devices(tmp_path: Path) -> None:
    RunFolder(tmp_path, device="cuda:1").write_config(Config())
    assert RunFolder(tmp_path, resume=True).devices == ["cpu", "cuda"]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"seconds_before": [1], "began": 2}',
        '{"seconds_before": 1, "began": null}',
        f'{{"seconds_before": 1, "began": {10**400}}}',
    ],
)
def test_a_damaged_clock_says_what_to_remove(tmp_path: Path, text: str) -> None:
    RunFolder(tmp_path)
    (tmp_path / "clock.json").write_text(text)
    with pytest.raises(TokMemError, match=r"clock\.json is damaged .*wall time is counted again"):
        RunFolder(tmp_path, resume=True)


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(Config())
    with pytest.raises(ConfigError, match="already holds a run"):
        RunFolder(tmp_path)
    with RunFolder(tmp_path, resume=True) as run:
        run.metrics.write(1, {})


def test_a_run_goes_on_with_its_own_data_backbone_and_bank_alone(tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    bank.mkdir()
    (bank / "bank.json").write_text("{}")
    config, run = AtomicConfig(load_task_tokens=str(bank)), RunFolder(tmp_path / "run")
    for _ in range(2):
        run.write_data(config, "data", "weights")
    with pytest.raises(ConfigError, match="was run on other data"):
        run.write_data(config, "more", "weights")
    with pytest.raises(ConfigError, match="was run on another backbone"):
        run.write_data(config, "data", "others")
    (bank / "bank.json").write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="was run on another bank"):
        run.write_data(config, "data", "weights")
    (run.path / "data.json").write_text('{"data": 1}')
    with pytest.raises(TokMemError, match=r"data\.json is damaged"):
        run.write_data(config, "data", "weights")


def test_a_resumed_run_removes_drafts_of_killed_writers(tmp_path: Path) -> None:
    RunFolder(tmp_path)
    (tmp_path / "predictions").mkdir()
    draft = tmp_path / "predictions" / ".tokmem-0.json.7b9c252e.tmp"
    draft.write_text("half")
    (tmp_path / "predictions" / "notes.tmp").write_text("a user's own")
    RunFolder(tmp_path, resume=True)
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["notes.tmp"]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        (lambda text: text.replace("stand_ins: 0\n", ""), True),  # of an earlier version
        (lambda text: text.replace("ridge: 0.1\n", ""), True),
        (lambda text: text.replace("ridge: 0.1\n", "ridge: 0.2\n"), False),
        (lambda text: text.replace("ridge: 0.1\n", "rigde: 0.1\n"), False),
        (lambda text: text + "]", False),
    ],
)
def test_a_run_goes_on_with_settings_that_it_does_not_name_yet(
    tmp_path: Path, change: Callable[[str], str], fits: bool
) -> None:
    config, folder = AtomicConfig(), RunFolder(tmp_path / "run", resume=False)
    folder.write_config(config)
    path = tmp_path / "run/config.yaml"
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    if fits:
        folder.write_config(config)
        assert path.read_text("utf-8") == dump_config(config)
    else:
        with pytest.raises(ConfigError, match="of another experiment"):
            folder.write_config(config)
