"""What is served as it is, and which engine reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.tiny_memory import tiny_memory
from tokmem.errors import ServingError
from tokmem.export.write import export
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
