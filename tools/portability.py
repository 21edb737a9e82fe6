"""Measures which figures of an experiment move between processors, and by how much.

    python tools/portability.py experiments/atomic/demo.yaml

Runs the experiment once with each kind of kernels (`kernels.py`), on one thread, and writes
results/portability.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kernels import KERNELS, environment

from tokmem.files import atomic_write_json

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/portability.json"
KEYS = ("method", "prompt")
SCORES = ("routing_accuracy", "rouge_l", "exact_match")


def measure(experiment: Path, overrides: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Runs the experiment with each kind of kernels.

    Args:
        experiment: YAML file of the atomic track.
        overrides: settings to change, as `KEY=VALUE`.
        folder: receives the runs.

    Returns:
        the result of each kind.
    """
    results = {}
    for kernel in KERNELS:
        target = folder / f"{kernel}.json"
        command = [sys.executable, "-m", "tokmem", "run", str(experiment)]
        command += [part for override in overrides for part in ("--set", override)]
        command += ["--out", str(folder / kernel), "--results", str(target)]
        subprocess.run(command, env=environment(kernel, 1), check=True)
        results[kernel] = json.loads(target.read_text("utf-8"))
    return results


def compared(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Makes a row for each row of the results: each score by kind of kernels, and the range of the three."""
    rows = []
    for same in zip(*(result["rows"] for result in results.values()), strict=True):
        row = {key: same[0][key] for key in KEYS}
        for score in SCORES:
            values = [one[score] for one in same]
            known = [value for value in values if value is not None]
            row |= {f"{score}_{kernel}": value for kernel, value in zip(results, values, strict=True)}
            row[f"{score}_range"] = max(known) - min(known) if known else None
        rows.append(row)
    return rows


def main() -> None:
    """Measures and writes the result file."""
    parser = argparse.ArgumentParser(description="Measure what moves between processors.")
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        results = measure(given.experiment, given.set, Path(folder))
    native = results["native"]
    shared = {
        key: native[key] for key in ("name", "track", "experiment", "overrides", "backbone", "provenance")
    }
    atomic_write_json(OUT, {**shared, "kernels": KERNELS, "rows": compared(results)})


if __name__ == "__main__":
    main()
