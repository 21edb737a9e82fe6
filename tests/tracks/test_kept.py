"""What a run keeps as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokmem.errors import TokMemError
from tokmem.tracks.capacity import cell
from tokmem.tracks.kept import Kept


class Part:
    """An experiment of one part."""

    parts, facts, checksum = ("a",), {}, ""

    def run(self, part: str, out: Path) -> list[dict]:
        return [{"part": part}]

    def summarise(self, rows: object) -> dict:
        return {}


@pytest.mark.parametrize("text", ['{"done": 1, "to', "", "[1]", '{"dne": 1}', "\udcff"])
def test_a_damaged_cell_says_what_to_remove(tmp_path: Path, text: str) -> None:
    Kept(done=1, rows=[{"a": 1}]).write(tmp_path, "x")
    assert Kept.read(tmp_path, "x") == Kept(done=1, rows=[{"a": 1}])
    path = tmp_path / "cells/x.json"
    path.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(TokMemError) as error:
        Kept.read(tmp_path, "x")
    assert error.value.got.startswith(f"{path} is damaged")
    assert f"remove {path} and resume" in error.value.do


@pytest.mark.parametrize("text", ['[{"part"', '{"part": "a"}'])
def test_a_damaged_part_says_what_to_remove(tmp_path: Path, text: str) -> None:
    assert cell(Part(), "a", tmp_path) == cell(Part(), "a", tmp_path) == [{"part": "a"}]
    path = tmp_path / "cells/a.json"
    path.write_text(text)
    with pytest.raises(TokMemError, match="is damaged") as error:
        cell(Part(), "a", tmp_path)
    assert f"remove {path} and resume" in error.value.do
    path.unlink()
    assert cell(Part(), "a", tmp_path) == [{"part": "a"}]
