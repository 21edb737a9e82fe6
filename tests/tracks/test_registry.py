"""The registry of tracks: how an experiment file names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokmem.config import load_config
from tokmem.errors import ConfigError
from tokmem.tracks.registry import track, track_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHIPPED = [
    path for folder in ("capacity", "distil") for path in sorted((EXPERIMENTS / folder).glob("*.yaml"))
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_experiments_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FANFICS_CSV", "PG19_CSV", "GSM8K_DIR", "PASSAGES", "SNI_DIR"):
        monkeypatch.setenv(f"TOKMEM_{name}", "/somewhere")
    track = track_of(path)
    assert track.name == path.parent.name
    assert load_config(track.config, path).name == path.stem


def test_a_track_that_is_not_there_is_told(tmp_path: Path) -> None:
    for name, task, told in (("atom", None, "track 'atom'"), ("capacity", "recite", "task 'recite'")):
        with pytest.raises(ConfigError, match=told):
            track(name, task)
    experiment = tmp_path / "mine.yaml"
    experiment.write_text("name: mine")
    assert track_of(experiment).name == "atomic"
    assert track("capacity").config.__name__ == "MemoriseConfig", "the first task is the default"
