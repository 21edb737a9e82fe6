"""The shipped experiments of the compositional track."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tokmem.config import load_config
from tokmem.data.calls.ranges import ToolRange
from tokmem.tracks.compositional.config import CompositionalConfig
from tokmem.tracks.compositional.data import ToolSource
from tokmem.tracks.compositional.rounds import make_rounds

FOLDER = Path(__file__).parents[3] / "experiments/compositional"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_can_be_read_and_its_queries_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKMEM_XLAM", "TOKMEM_TOOLCALLS"):
        monkeypatch.setenv(name, "/nowhere/rows.json")
    config = load_config(CompositionalConfig, path)
    assert config.name == path.stem
    one_seed = config.name in ("adaptation", "hermes") or config.name.endswith("_quick")
    assert len(config.seeds) == (1 if one_seed else 3)
    if config.data.source == "generated":
        source, auxiliary = ToolSource(config.data), config.adaptation
        size = replace(config.data, train_size=auxiliary.auxiliary_train_size, test_size=0)
        for limit in config.call_limits or (None,):
            rounds = make_rounds(config.rounds, config.data, source, limit)
            assert [len(one.data.train) for one in rounds] == [config.data.train_size] * len(rounds)
            assert [len(one.data.test) for one in rounds] == [config.data.test_size] * len(rounds)
            assert {len(e.turns) for one in rounds for e in one.data.test} == {2, 3, 4}
            adapted = source.composed(ToolRange.parse_all(auxiliary.auxiliary_tools), size.spec(0, limit))
            assert len(adapted.train) == auxiliary.auxiliary_train_size


@pytest.mark.realdata
def test_the_real_tool_calls_make_its_queries(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKMEM_TOOLCALLS", str(real_data / "toolcalls/calls_xlam_format.json"))
    config = load_config(CompositionalConfig, FOLDER / "real100.yaml")
    source = ToolSource(config.data)
    assert source.broken == {}
    (one,) = make_rounds(config.rounds, config.data, source, None)
    assert len(one.data.procedures) == 50
    assert {len(e.turns) for e in one.data.test} == {2, 3, 4}
