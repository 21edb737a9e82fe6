"""What is served as it is, and which engine reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.export.tiny_memory import tiny_memory
from tokmem.errors import ServingError
from tokmem.export.write import export
from tokmem.serving.engines import ENGINES, Load
from tokmem.serving.exported import export_for


def test_options_beside_an_export_are_refused(tmp_path: Path) -> None:
    export(tiny_memory(), tmp_path / "out", to="hf", check=False)
    for options in (
        {"out": tmp_path / "x"},
        {"gguf": tmp_path / "y"},
        {"settings": {"backbone.dtype": "auto"}},
    ):
        given = {"settings": {}, **options}
        with pytest.raises(ServingError, match="options of an export beside"):
            export_for(None, tmp_path / "out", lambda: pytest.fail("loaded"), **given)


def test_a_form_that_no_engine_reads_is_named(tmp_path: Path) -> None:
    export(tiny_memory(policy="spare"), tmp_path / "out", to="lora", check=False)
    with pytest.raises(ServingError, match="form lora, which no engine here reads"):
        export_for(None, tmp_path / "out", lambda: pytest.fail("loaded"), settings={})


def test_a_bank_of_any_name_is_served_under_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(ENGINES, "transformers", replace(ENGINES["transformers"], installed=lambda: True))
    memory = tiny_memory()
    for name, plain in (("-it's a@v1", "_it_s_a_v1"), ("größe.2", "größe.2")):
        memory.save(tmp_path / name)
        engine, folder = export_for("transformers", tmp_path / name, lambda: memory, settings={}, check=False)
        assert folder.name == plain
        assert plain in engine.command(folder, 8080, Load())


def test_a_folder_that_transformers_reads_otherwise_is_refused(tmp_path: Path) -> None:
    for name in ("a@v1", "-a"):
        with pytest.raises(ServingError, match="a name without @ that does not begin with a dash"):
            ENGINES["transformers"].command(tmp_path / name, 8080, Load())
