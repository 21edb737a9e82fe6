"""A run of the capacity track from the command line: its output, and parts shared by processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli

TINY = {
    "track": "capacity",
    "name": "tiny",
    "methods": ["tokmem", "prefix"],
    "embeddings": [2],
    "passages": {"sequence_length": 6, "sequences": [1], "runs": 2},
    "memorise": {"lr": 0.05, "steps": 4, "check_every": 2},
}


@pytest.fixture
def experiment(model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"backbone": {"model_name": str(model)}}))
    return path


def test_what_was_written_from_memory_is_printed(cli: Cli, experiment: Path) -> None:
    done = cli("run", experiment, "--out", "run", "--results", "tiny.json")
    assert done.exit_code == 0, done.output
    result = json.loads(Path("tiny.json").read_text())
    assert {"wall_seconds", "experiment"} <= result.keys()
    best = max(result["memorised"], key=lambda part: part["recovered_tokens"])
    said = " ".join(done.output.split())
    assert f"The model wrote this from the marker and its memory ({best['method']}, 2 embeddings" in said
    for one in best["written"]:
        for label in ("marker", "passage", "written"):
            assert f"{label} {' '.join(one[label].split())}".strip() in said
    assert "2 runs; backbone" in said


@pytest.mark.usefixtures("forked_workers")
def test_workers_find_what_one_process_finds(cli: Cli, experiment: Path) -> None:
    assert cli("run", experiment, "--out", "alone", "--results", "alone.json").exit_code == 0
    shared = cli("run", experiment, "--out", "shared", "--results", "shared.json", "--workers", "2")
    assert shared.exit_code == 0, shared.output
    rows = [json.loads(Path(f"{name}.json").read_text())["rows"] for name in ("alone", "shared")]
    for one, other in zip(*rows, strict=True):
        for key in ("method", "embeddings", "tokens", "best_step", "recovered_tokens"):
            assert one[key] == other[key]
        assert one["perplexity"] == pytest.approx(other["perplexity"], rel=1e-3)
