"""Writes the tables of README.md and docs/results.md from committed result files; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tokmem.report.results import results_table
from tokmem.report.tables import Spread, Table

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/results.md", ROOT / "docs/performance.md")
BLOCK = re.compile(r"(<!-- (table|forgetting|probes): (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
FORGETTING = {"method": "method", "learned_at": "learned by", "evaluated_at": "measured at"}
PROBES = {"method": "method", "instruction": "instruction"}
SCORES = {"rouge_l": "ROUGE-L", "routing_accuracy": "routing %"}
BENCH = {
    "train_step": {
        "name": "one training step",
        "tokens_per_second": "tokens/s",
        "speedup": "against plain",
        "peak_gb": "peak GB",
    },
    "epochs": {
        "name": "whole epochs",
        "tokens_per_second": "tokens/s",
        "speedup": "against plain",
        "over_bare": "against bare forward",
        "peak_gb": "peak GB",
        "memory_share": "of plain",
    },
    "bank_scale": {
        "memory_tokens": "memory tokens",
        "step_seconds": "step s",
        "step_ratio": "against 10",
        "suffix_seconds": "prompts cached, s",
        "suffix_ratio": "against 10",
        "routing_ms": "routing ms /query",
        "bank_gb": "bank GB",
        "peak_gb": "peak GB",
    },
    "recall": {
        "name": "recall",
        "queries_per_second": "queries/s",
        "speedup": "against generate",
        "identical": "identical answers",
    },
}
TWO_DIGITS = (
    *("speedup", "over_bare", "peak_gb", "memory_share", "step_seconds", "step_ratio"),
    *("suffix_seconds", "suffix_ratio", "routing_ms", "queries_per_second"),
)


def table(kind: str, path: Path) -> str:
    """The Markdown table of a result file; a line in its place where a benchmark has not been run."""
    if "bench" in path.parts and not path.exists():
        return f"`{path.relative_to(ROOT)}`: to be measured with `make bench`.\n"
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if "bench" in path.parts:
        formats = dict.fromkeys(TWO_DIGITS, ".2f") | {"bank_gb": ".4f", "identical": ".1%"}
        return Table(result["rows"], BENCH[path.stem], formats).markdown()
    if kind == "table":
        return results_table(result).markdown()
    return scores_table(result[kind], FORGETTING if kind == "forgetting" else PROBES).markdown()


def scores_table(rows: list[dict[str, Any]], keys: dict[str, str]) -> Table:
    """Rows of ROUGE-L and routing, with their spread where there are several seeds."""
    cells = [
        {key: row[key] for key in keys}
        | {
            name: Spread(row[name], row[f"{name}_std"], 2) if f"{name}_std" in row else row[name]
            for name in SCORES
        }
        for row in rows
    ]
    return Table(cells, keys | SCORES)


def updated(text: str) -> str:
    """The text with every marked table written anew."""
    return BLOCK.sub(lambda m: m[1] + table(m[2], ROOT / m[3]) + m[4], text)


def main() -> int:
    """Rewrites the pages, or with `--check` says whether they are up to date."""
    texts = {page: page.read_text("utf-8") for page in PAGES}
    if "--check" in sys.argv:
        return int(any(updated(text) != text for text in texts.values()))
    for page, text in texts.items():
        page.write_text(updated(text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
