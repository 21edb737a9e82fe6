"""`tokmem analyze`: shows how the memory tokens of a bank lie to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokmem.cli.memory import BankFolder
from tokmem.cli.shared import console, show_table
from tokmem.report.tables import Table

_SHOWN = 20
_FILES = ("geometry.json", "geometry-*.png")
EXAMPLE = "tokmem analyze runs/train --out runs/geometry"


def analyze(
    bank: BankFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for geometry.json and the plots as PNG; an earlier analysis there is replaced."
        ),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=1, help="How many of the nearest others.")] = 3,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=1, help="Name descriptions that share this part of their words.")
    ] = 0.9,
) -> None:
    """Show norms, neighbours and clusters of a bank's memory tokens, and near-duplicate descriptions."""
    from tokmem.bank.store import load_bank
    from tokmem.eval.duplicates import near_duplicates
    from tokmem.files import atomic_write_json, replace_folder
    from tokmem.report.bank_geometry import bank_geometry
    from tokmem.report.sections.geometry import geometry_plots, neighbour_table

    loaded, origin = load_bank(bank)
    geometry = bank_geometry(loaded, origin, bank.resolve().name, neighbours)
    for table in geometry["tables"]:
        shown = neighbour_table(geometry, table)
        rows = [shown.table.rows[place] for place in table["order"]]
        show_table(Table(rows, shown.table.titles, shown.table.formats, shown.caption), ("procedure",))
    pairs = near_duplicates(loaded.procedures.values(), threshold)
    if pairs:
        if len(pairs) > _SHOWN:
            console().print(f"{len(pairs):,} near-duplicate pairs; the first {_SHOWN}:", markup=False)
        titles = {"first": "procedure", "second": "nearly the same as", "similarity": "words shared"}
        show_table(Table([pair._asdict() for pair in pairs[:_SHOWN]], titles, {"similarity": ".2f"}))
    console().print("Rows stand in the order of the clusters.", markup=False)
    if out is None:
        return
    plots = geometry_plots(geometry)
    with replace_folder(out, _FILES) as draft:
        atomic_write_json(draft / _FILES[0], geometry)
        for plot, _ in plots:
            (draft / f"{plot.name}.png").write_bytes(plot.png)
    console().print(f"Geometry: {out / _FILES[0]}, {len(plots)} plots beside it", markup=False)
