"""A new method and a new track: each is one file or folder and a line in the registry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tracks.tiny_tools import CONFIG as TOOLS
from tests.tracks.tiny_tools import tiny
from tokmem.config import load_config
from tokmem.errors import ConfigError
from tokmem.methods import registry as methods
from tokmem.model.backbone import Backbone
from tokmem.tracks import registry as tracks
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.atomic.data import DataConfig
from tokmem.tracks.reason.config import ProblemsConfig, ReasonConfig
from tokmem.tracks.run import run

ATOMIC = AtomicConfig(
    data=DataConfig(num_tasks=4, train_size=3, val_size=0, test_size=1),
    methods=("base",),
    stages=(2, 4),
    schedule="blocks",
    block_size=1,
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny()


@pytest.fixture
def _toy_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "MODULES", [*methods.MODULES, "tests.tracks.toy_method"])


@pytest.fixture
def _toy_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracks.MODULES, "toy", "tests.tracks.toy_track")


def test_nothing_knows_the_toys_before_they_are_registered() -> None:
    with pytest.raises(ConfigError, match="method 'toy'"):
        replace(ATOMIC, methods=("toy",))
    with pytest.raises(ConfigError, match="track 'toy'"):
        tracks.track("toy")


@pytest.mark.usefixtures("_toy_method")
def test_the_atomic_track_runs_a_method_of_ones_own(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(ATOMIC, methods=("toy", "toy+word=no"))
    rows = {(r["method"], r["stage"]): r for r in run(config, tmp_path, backbone=backbone)["rows"]}
    assert set(rows) == {(m, k) for m in config.methods for k in (2, 4)}
    assert rows["toy+word=no", 4]["settings"] == {"word": "no"}
    assert rows["toy", 4]["new_examples"] == 12
    answers = json.loads((tmp_path / "predictions/toy-instruction-query-0-2.json").read_text())
    assert answers[0]["response"] == 6 * "yes"
    kept = sorted(path.name for path in (tmp_path / "learned").glob("toy-*"))
    assert kept == ["toy-instruction-query-0", "toy-instruction-query-0-2"], "what ended a stage"


@pytest.mark.usefixtures("_toy_method")
def test_a_stopped_run_restores_a_method_of_ones_own(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(ATOMIC, methods=("toy",))
    whole = run(config, tmp_path, backbone=backbone)["rows"]
    path = tmp_path / "cells/toy-instruction-query-0.json"
    state = json.loads(path.read_text())
    totals = {name: value / 2 for name, value in state["totals"].items()}
    path.write_text(json.dumps(state | {"done": 2, "rows": state["rows"][:1], "totals": totals}))
    again = run(config, tmp_path, backbone=backbone, resume=True)["rows"]
    for row, other in zip(whole, again, strict=True):
        assert row | {"queries_per_second": 0} == other | {"queries_per_second": 0}


@pytest.mark.usefixtures("_toy_method")
def test_the_other_tracks_run_it_too(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(replace(TOOLS, methods=("toy",)), tmp_path / "tools", backbone=backbone)
    assert {(r["method"], r["adaptation"], r["trainable_parameters"]) for r in summary["rows"]} == {
        ("toy", "none", 0)
    }
    problems = ProblemsConfig(train_sizes=(4,), test_size=2)
    config = ReasonConfig(methods=("toy",), embeddings=(1,), problems=problems)
    (row,) = run(config, tmp_path / "reason", backbone=backbone)["rows"]
    assert (row["method"], row["train_size"], row["compliance"]) == ("toy", 4, 0)


@pytest.mark.usefixtures("_toy_track")
def test_a_run_is_not_resumed_on_other_data(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tracks.track("toy").config()
    run(config, tmp_path, backbone=backbone)
    monkeypatch.setattr("tests.tracks.toy_track.Counting.checksum", "other")
    with pytest.raises(ConfigError, match="was run on other data"):
        run(config, tmp_path, backbone=backbone, resume=True)
    (tmp_path / "data.json").unlink()  # as an older version leaves a folder
    run(config, tmp_path, backbone=backbone, resume=True)
    assert json.loads((tmp_path / "data.json").read_text())["data"] == "other"


@pytest.mark.usefixtures("_toy_track")
def test_a_track_of_ones_own_is_run_and_resumed(backbone: Backbone, tmp_path: Path) -> None:
    experiment = tmp_path / "mine.yaml"
    experiment.write_text("track: toy\nnumbers: [4, 5]\n")
    config = load_config(tracks.track_of(experiment).config, experiment)
    summary = run(config, tmp_path / "run", backbone=backbone)
    assert summary["rows"] == [{"number": 4, "sum": 6}, {"number": 5, "sum": 10}]
    assert (summary["track"], summary["provenance"]["data_checksum"]) == ("toy", "none")
    part = tmp_path / "run/cells/4.json"
    part.write_text('[{"number": 4, "sum": -1}]')
    again = run(config, tmp_path / "run", backbone=backbone, resume=True)
    assert again["rows"][0]["sum"] == -1, "a finished part is read back"
