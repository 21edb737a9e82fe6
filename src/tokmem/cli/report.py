"""`tokmem report`: writes results as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokmem.cli.shared import console, run_folder

EXAMPLE = "tokmem report runs/train --out runs/report"


def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="Result files, geometry.json files, or the folders of runs and analyses."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the page; an earlier report there is replaced. "
            "\\[default: the next free one like runs/report]"
        ),
    ] = None,
) -> None:
    """Show results as one self-contained HTML page, its plots as PNG beside it."""
    from tokmem.report.page import write_page
    from tokmem.report.read import read_result

    page = write_page([read_result(path) for path in results], run_folder(out, False, Path("runs/report")))
    console().print(f"Report: {page}", markup=False)
