"""What tools share that run one experiment several times, each time in another way."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def read_arguments(description: str) -> argparse.Namespace:
    """Reads the command line: `experiment`, a YAML file, and `set`, settings to change as `KEY=VALUE`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    return parser.parse_args()


def run_experiment(
    experiment: Path,
    overrides: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs an experiment in a process of its own; returns its result.

    Args:
        experiment: its YAML file.
        overrides: settings to change, as `KEY=VALUE`.
        folder: receives the run; the result file is written beside it.
        environment: of the process; None takes this one's.
    """
    target = folder.parent / f"{folder.name}.json"
    command = [sys.executable, "-m", "tokmem", "run", str(experiment)]
    command += [part for override in overrides for part in ("--set", override)]
    command += ["--out", str(folder), "--results", str(target)]
    subprocess.run(command, env=environment, check=True)
    result: dict[str, Any] = json.loads(target.read_text("utf-8"))
    return result


def facts_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a result that say what was run."""
    return {key: result[key] for key in ("name", "track", "experiment", "backbone", "provenance")}
