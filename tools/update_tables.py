"""Writes the tables of README.md from committed result files; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tokmem.report.results import results_table
from tokmem.report.tables import Table

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
BENCH = {
    "name": "one training step",
    "tokens_per_second": "tokens/s",
    "speedup": "against plain",
    "peak_gb": "peak GB",
}


def table(path: Path) -> str:
    """The Markdown table of a result file."""
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if "bench" in path.parts:
        return Table(result["rows"], BENCH, {"speedup": ".2f", "peak_gb": ".2f"}).markdown()
    return results_table(result).markdown()


def updated(text: str) -> str:
    """The text with every marked table written anew."""
    return BLOCK.sub(lambda m: m[1] + table(ROOT / m[2]) + m[3], text)


def main() -> int:
    """Rewrites README.md, or with `--check` says whether it is up to date."""
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    if "--check" in sys.argv:
        return int(updated(text) != text)
    readme.write_text(updated(text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
