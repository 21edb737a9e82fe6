"""The README's tables are those of the committed result files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_tables_come_from_the_result_files() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/update_tables.py"), "--check"], check=False)
    assert done.returncode == 0, "run tools/update_tables.py"
    assert "| tokmem |" in (ROOT / "README.md").read_text()
