"""The progress that a run saves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokmem.errors import TokMemError
from tokmem.tracks.progress import Progress, rows_once


@pytest.mark.parametrize(
    "text",
    ['{"done": 1, "to', "", "[1]", '{"dne": 1}', '{"totals": [1]}', '{"totals": {"a": "b"}}', "\udcff"],
)
def test_a_damaged_cell_says_what_to_remove(tmp_path: Path, text: str) -> None:
    Progress(done=1, rows=[{"a": 1}]).write(tmp_path, "x")
    assert Progress.read(tmp_path, "x") == Progress(done=1, rows=[{"a": 1}])
    path = tmp_path / "cells/x.json"
    path.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(TokMemError) as error:
        Progress.read(tmp_path, "x")
    assert error.value.got.startswith(f"{path} is damaged")
    assert f"remove {path} and resume" in error.value.do


@pytest.mark.parametrize("text", ['[{"part"', '{"part": "a"}'])
def test_a_damaged_part_says_what_to_remove(tmp_path: Path, text: str) -> None:
    rows = [{"part": "a"}]
    assert rows_once(tmp_path, "a", lambda: rows) == rows
    assert rows_once(tmp_path, "a", lambda: pytest.fail("measured again")) == rows
    path = tmp_path / "cells/a.json"
    path.write_text(text)
    with pytest.raises(TokMemError, match="is damaged") as error:
        rows_once(tmp_path, "a", lambda: rows)
    assert f"remove {path} and resume" in error.value.do
    path.unlink()
    assert rows_once(tmp_path, "a", lambda: rows) == rows
