"""Measures one bank in float32 and in bfloat16, whichever of the two it was trained in.

    python tools/precision.py experiments/atomic/demo.yaml --set 'prompts=[query]'

Trains the experiment's memory tokens once in each type of numbers, measures every bank in both, and writes
results/precision.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokmem.files import atomic_write_json

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/precision.json"
TYPES = ("float32", "bfloat16")
BANKS = {
    "tokmem": "tokmem",
    "tokmem_dc+addresses=closed": "tokmem_dc",
}  # how it is trained, how it is measured
SCORES = ("routing_accuracy", "rouge_l", "exact_match")


def result_of(experiment: Path, overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Runs the experiment with changed settings; returns its result."""
    command = [sys.executable, "-m", "tokmem", "run", str(experiment)]
    command += [part for override in overrides for part in ("--set", override)]
    target = folder.with_suffix(".json")
    subprocess.run([*command, "--out", str(folder), "--results", str(target)], check=True)
    result: dict[str, Any] = json.loads(target.read_text("utf-8"))
    return result


def measure(experiment: Path, overrides: Sequence[str], folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """Trains in each type and measures in both.

    Returns:
        the result of the last training, and a row for each method, prompt, type of training and of measuring.
    """
    rows = []
    for trained in TYPES:
        settings = [*overrides, f"backbone.dtype={trained}", f"methods=[{','.join(BANKS)}]"]
        result = result_of(experiment, settings, folder / trained)
        for bank in sorted((folder / trained / "banks").iterdir()):
            method, prompt, seed = bank.name.rsplit("-", 2)
            for measured in TYPES:
                own = [f"backbone.dtype={measured}", f"methods=[{BANKS[method]}]", "skip_training=true"]
                own += [f"load_task_tokens={json.dumps(str(bank))}", f"prompts=[{prompt}]", f"seeds=[{seed}]"]
                found = result_of(
                    experiment, [*overrides, *own], folder / f"{trained}-{bank.name}-{measured}"
                )
                scores = {score: found["rows"][0][score] for score in SCORES}
                facts = {"method": method, "prompt": prompt, "trained_in": trained, "measured_in": measured}
                rows.append(facts | scores)
    return result, rows


def main() -> None:
    """Measures and writes the result file."""
    parser = argparse.ArgumentParser(description="Measure banks in float32 and in bfloat16.")
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        result, rows = measure(given.experiment, given.set, Path(folder))
    shared = {key: result[key] for key in ("name", "track", "experiment", "backbone", "provenance")}
    atomic_write_json(OUT, {**shared, "overrides": given.set, "rows": rows})


if __name__ == "__main__":
    main()
