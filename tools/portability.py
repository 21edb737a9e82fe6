"""Measures which figures of an experiment move between processors, and by how much.

    python tools/portability.py experiments/atomic/demo.yaml

Runs the experiment once with each kind of kernels (`kernels.py`), on one thread, and writes
results/portability.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kernels import KERNELS, environment
from repeated import facts_of, read_arguments, run_experiment

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
    return {
        kernel: run_experiment(experiment, overrides, folder / kernel, environment(kernel, 1))
        for kernel in KERNELS
    }


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
    given = read_arguments("Measure what moves between processors.")
    with TemporaryDirectory() as folder:
        results = measure(given.experiment, given.set, Path(folder))
    facts = {**facts_of(results["native"]), "overrides": given.set}
    atomic_write_json(OUT, {**facts, "kernels": KERNELS, "rows": compared(results)})


if __name__ == "__main__":
    main()
