"""Measures one bank in float32 and in bfloat16, whichever of the two it was trained in.

    python tools/precision.py experiments/atomic/demo.yaml --set 'prompts=[query]'

Trains the experiment's memory tokens once in each type of numbers, measures every bank in both, and writes
results/precision.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from repeated import facts_of, read_arguments, run_experiment

from tokmem.files import atomic_write_json

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/precision.json"
TYPES = ("float32", "bfloat16")
BANKS = {
    "tokmem": "tokmem",
    "tokmem_dc+addresses=closed": "tokmem_dc",
}  # how it is trained, how it is measured
SCORES = ("routing_accuracy", "rouge_l", "exact_match")


def measure(experiment: Path, overrides: Sequence[str], folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """Trains in each type and measures in both.

    Returns:
        the result of the last training, and a row for each method, prompt, type of training and of measuring.
    """
    rows = []
    for trained in TYPES:
        settings = [*overrides, f"backbone.dtype={trained}", f"methods=[{','.join(BANKS)}]"]
        result = run_experiment(experiment, settings, folder / trained)
        for bank in sorted((folder / trained / "banks").iterdir()):
            method, prompt, seed = bank.name.rsplit("-", 2)
            for measured in TYPES:
                own = [f"backbone.dtype={measured}", f"methods=[{BANKS[method]}]", "skip_training=true"]
                own += [f"load_task_tokens={json.dumps(str(bank))}", f"prompts=[{prompt}]", f"seeds=[{seed}]"]
                found = run_experiment(
                    experiment, [*overrides, *own], folder / f"{trained}-{bank.name}-{measured}"
                )
                scores = {score: found["rows"][0][score] for score in SCORES}
                facts = {"method": method, "prompt": prompt, "trained_in": trained, "measured_in": measured}
                rows.append(facts | scores)
    return result, rows


def main() -> None:
    """Measures and writes the result file."""
    given = read_arguments("Measure banks in float32 and in bfloat16.")
    with TemporaryDirectory() as folder:
        result, rows = measure(given.experiment, given.set, Path(folder))
    atomic_write_json(OUT, {**facts_of(result), "overrides": given.set, "rows": rows})


if __name__ == "__main__":
    main()
