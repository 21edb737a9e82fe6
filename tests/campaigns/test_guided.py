"""Damaged files that coverage guides: Atheris looks for code of TokMem that no damage has reached yet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("atheris")
pytest.importorskip("hypothesis")
pytest.importorskip("peft")
pytest.importorskip("gguf")

from tests.campaigns.kinds import Kind, all_kinds
from tests.campaigns.ledger import ROOT, SEED, SHARE, WORK, Ledger
from tokmem.files import atomic_write_text

pytestmark = pytest.mark.slow


def guided(kind: Kind, folder: Path, ledger: Ledger) -> None:
    """Reads damaged files of a kind in a process of its own, and writes the row."""
    runs, tally = max(1, round(kind.full * SHARE)), ledger.tally(kind.what)
    if tally.tried >= runs and not tally.failed:
        return
    begun = time.monotonic()
    options = {"what": kind.what, "folder": folder, "runs": runs, "seed": SEED}
    given = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.campaigns.guided", *given]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    row: dict[str, object] = {"tried": runs, "failed": int(done.returncode != 0), "seed": SEED}
    ledger.write(kind.what, row | {"seconds": round(time.monotonic() - begun, 1)})
    if done.returncode:
        said = WORK / "failures" / "guided" / f"{kind.what.replace('/', '-')}.txt"
        atomic_write_text(said, done.stdout + done.stderr)
        if (folder / "given").is_file():
            said.with_suffix(".given").write_bytes((folder / "given").read_bytes())
        pytest.fail(f"{kind.what}: see {said}")


def test_damage_that_coverage_guides_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "kinds").mkdir()
    ledger = Ledger("guided")
    for number, kind in enumerate(all_kinds(tmp_path / "kinds")):
        with subtests.test(kind.what):
            folder = tmp_path / str(number)
            folder.mkdir()
            guided(kind, folder, ledger)
