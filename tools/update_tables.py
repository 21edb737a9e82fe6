"""Writes the tables of README.md from committed result files, between their markers; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tokmem.report.tables import Table

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
ATOMIC = {
    "method": "method",
    "prompt": "prompt",
    "routing_accuracy": "routing %",
    "rouge_l": "ROUGE-L",
    "rouge_l_forced": "forced",
    "exact_match": "exact %",
    "trainable_parameters": "parameters",
    "prompt_tokens_per_query": "prompt tokens",
    "train_seconds": "train s",
    "queries_per_second": "queries/s",
}
BENCH = {
    "name": "one training step",
    "tokens_per_second": "tokens/s",
    "speedup": "against plain",
    "peak_gb": "peak GB",
}


def table(path: Path) -> str:
    """The Markdown table of a result file; a spread over seeds stands behind its mean."""
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"]
    if "bench" in path.parts:
        return Table(rows, BENCH, {"speedup": ".2f", "peak_gb": ".2f"}).markdown()
    shown = [
        {key: f"{row[key]:.1f} ± {row[key + '_std']:.1f}" if f"{key}_std" in row else row[key] for key in ATOMIC}
        for row in rows
    ]
    return Table(shown, ATOMIC).markdown()


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
