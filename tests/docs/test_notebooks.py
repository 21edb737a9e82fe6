"""The notebooks run from top to bottom, and are stored with the outputs of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.fences import ROOT
from tokmem.model.catalog import CATALOG, SMOLLM2
from tokmem.model.converted import converted_folders

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@every_notebook
def test_it_is_stored_with_its_outputs_and_without_errors(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), (
        "run tools/run_notebooks.py"
    )
    assert sum(bool(cell["outputs"]) for cell in code) >= 5
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]


@pytest.mark.slow
@every_notebook
def test_it_runs(path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if SMOLLM2 in path.read_text("utf-8"):
        held = CATALOG[SMOLLM2].wheel.member_sha256
        if not any(folder.sha256 == held for folder in converted_folders()):
            pytest.skip("SmolLM2 is not in the cache; fetch it with `tokmem backbone get smollm2`")
    from tools.run_notebooks import executed

    assert executed(path).cells
