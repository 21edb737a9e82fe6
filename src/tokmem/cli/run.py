"""`tokmem run`: runs an experiment file and writes a result file of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tokmem.cli import launched
from tokmem.cli.inputs import input_file
from tokmem.cli.shared import Resume, Workers, console, load, run_folder, show_results
from tokmem.files import atomic_write_json
from tokmem.provenance import public_override

EXAMPLE = "tokmem run experiment.yaml --set training.epochs=1 --out runs/short --results runs/short.json"


def run(
    experiment: Annotated[Path, typer.Argument(help="YAML file of an experiment.", callback=input_file)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. \\[default: runs/NAME]")] = None,
    resume: Resume = False,
    workers: Workers = 1,
    on: Annotated[
        Literal["ray"] | None,
        typer.Option(help="ray: the machines of a Ray cluster share the parts.", rich_help_panel="Output"),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Result file; for experiments/TRACK/NAME.yaml it is results/TRACK/NAME.json."),
    ] = None,
) -> None:
    """Run an experiment file; print its table and write its result file."""
    from tokmem.config import load_config
    from tokmem.tracks.registry import track_of
    from tokmem.tracks.run import run as run_experiment

    overrides, track = set_ or [], track_of(experiment)
    config = load_config(track.config, experiment, overrides)
    if config.name == track.config.name:
        config = replace(config, name=experiment.stem)
    folder = run_folder(out or Path("runs") / config.name, resume, Path())
    backbone = load(config.backbone)
    summary = run_experiment(
        config, folder, resume=resume, workers=workers, cluster=on == "ray", backbone=backbone
    )
    show_results(summary, folder)
    target = results or _result_file(experiment)
    if target is not None and not launched.index():
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
    return {**summary, "experiment": text, "overrides": [public_override(override) for override in overrides]}
