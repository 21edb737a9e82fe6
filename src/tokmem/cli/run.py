"""`tokmem run`: runs an experiment file and writes a result file of the same name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tokmem.cli.shared import Resume, Workers, console, load, run_folder, show_results
from tokmem.config import parse_yaml
from tokmem.files import atomic_write_json

EXAMPLE = (
    "tokmem run experiments/atomic/demo.yaml --set training.epochs=1 --out runs/short "
    "--results runs/short.json"
)

# How a path begins: at the root, at home, here or above, on a drive, in a file URL; or it goes up.
_LOCAL = re.compile(r"^\s*(/|~|\.{1,2}([/\\]|\s*$)|\\|[A-Za-z]:[/\\]|file:)|[/\\]\.\.([/\\]|\s*$)")


def run(
    experiment: Annotated[Path, typer.Argument(help="YAML file of an experiment.", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. \\[default: runs/NAME]", show_default=False)
    ] = None,
    resume: Resume = False,
    workers: Workers = 1,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Result file; for experiments/TRACK/NAME.yaml it is results/TRACK/NAME.json.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run an experiment file; print its table and write its result file."""
    from tokmem.config import load_config
    from tokmem.tracks.registry import track_of

    overrides, track = set_ or [], track_of(experiment)
    config = load_config(track.config, experiment, overrides)
    if config.name == track.config.name:
        config = replace(config, name=experiment.stem)
    folder = run_folder(out or Path("runs") / config.name, resume, Path())
    summary = track.run(config, folder, resume=resume, workers=workers, backbone=load(config.backbone))
    show_results(summary, folder)
    target = results or _result_file(experiment)
    if target is not None:
        atomic_write_json(target, _result(summary, experiment, overrides))
        console().print(f"Result file: {target}", markup=False)


def _result_file(experiment: Path) -> Path | None:
    """Finds `results/<track>/<name>.json` for `experiments/<track>/<name>.yaml`; None for files elsewhere."""
    track = experiment.absolute().parent
    if track.parent.name != "experiments":
        return None
    return track.parent.parent / "results" / track.name / f"{experiment.stem}.json"


def _result(summary: Mapping[str, Any], experiment: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Adds the experiment to the summary as its file has it: with variables, so without private paths."""
    text = experiment.read_text("utf-8")
    return {**summary, "experiment": text, "overrides": [_public(override) for override in overrides]}


def _public(override: str) -> str:
    """Masks each path in the value of an override."""
    key, _, text = override.partition("=")
    value = parse_yaml(text, f"override {override!r}")
    masked = _masked(value)
    if masked == value:
        return override
    shown = masked if isinstance(masked, str) else json.dumps(masked, ensure_ascii=False, default=str)
    return f"{key}={shown}"


def _masked(value: Any) -> Any:
    """Masks the paths of this machine in what YAML read; a hub id or a name stays."""
    if isinstance(value, Mapping):
        return {name: _masked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_masked(entry) for entry in value]
    return "(a local path)" if isinstance(value, str) and _LOCAL.search(value) else value
