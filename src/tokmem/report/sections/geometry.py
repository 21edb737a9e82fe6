"""The geometry of a bank's memory tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tokmem.report.blocks import Block, Figures, Section, TableBlock
from tokmem.report.canvas import Plot
from tokmem.report.plots import heat_map, scatter, values_in_order
from tokmem.report.rows import slug
from tokmem.report.tables import Table

Geometry = Mapping[str, Any]


def geometry(banks: Sequence[Geometry]) -> Section:
    """Shows similarity, projection, norms and neighbours of each bank."""
    blocks: list[Block] = []
    for number, bank in enumerate(banks, 1):
        blocks.append(Figures(geometry_plots(bank, f"{slug(bank['name'])}-{number}")))
        blocks += [neighbour_table(bank, table) for table in bank["tables"]]
    return Section("geometry", "Token geometry", blocks)


def geometry_plots(bank: Geometry, prefix: str = "") -> list[tuple[Plot, str]]:
    """Draws every plot of a bank's geometry, with its caption.

    Args:
        bank: a record of `tokmem.report.bank_geometry.bank_geometry`.
        prefix: prefix of the plots' names.
    """
    start = f"geometry-{prefix}-" if prefix else "geometry-"
    plots = []
    for table in bank["tables"]:
        part = start + slug(table["name"])
        plots += [_heat(bank, table, part)] if len(bank["procedures"]) > 1 else []
        plots.append(_projection(bank, table, part))
    plots.append(_norms(bank, start))
    if "address_steering_cosines" in bank:
        plots.append(_address_steering(bank, start))
    return plots


def _heat(bank: Geometry, table: Geometry, part: str) -> tuple[Plot, str]:
    heat, count = table["heat_map"], len(bank["procedures"])
    caption = f"{bank['name']}: cosines of {table['name']}, clustered"
    if heat["block"] > 1:
        caption += f" (a cell is the mean over {heat['block']} by {heat['block']} procedures)"
    values = [v for i, row in enumerate(heat["cosines"]) for j, v in enumerate(row) if i != j] or [0.0]
    alt = f"{caption}. Of {count} procedures: {fmean(values):.2f} on average, {max(values):.2f} at most"
    names = [bank["procedures"][place] for place in table["order"]]
    plot = heat_map(
        f"{part}-cosines",
        alt,
        heat["cosines"],
        scale=(min(values), max(values)),
        unit="cosine",
        names=names,
        merges=table["merges"],
        order=table["order"],
    )
    return plot, caption


def _projection(bank: Geometry, table: Geometry, part: str) -> tuple[Plot, str]:
    first, second = (100 * share for share in table["explained"])
    caption = f"{bank['name']}: {table['name']} along their first two principal components"
    alt = f"{caption}, which hold {first:.0f} and {second:.0f} percent of the variance"
    axes = (f"first component, {first:.0f} %", f"second component, {second:.0f} %")
    return scatter(f"{part}-projection", alt, table["projection"], bank["procedures"], axes), caption


def _norms(bank: Geometry, start: str) -> tuple[Plot, str]:
    caption = f"{bank['name']}: norms, in the order of the bank"
    series = {table["name"]: table["norms"] for table in bank["tables"]}
    parts = (f"{name} from {min(values):.2f} to {max(values):.2f}" for name, values in series.items())
    axes = ("procedure", "norm")
    return values_in_order(f"{start}norms", f"{caption}: {'; '.join(parts)}", series, axes, least=0), caption


def _address_steering(bank: Geometry, start: str) -> tuple[Plot, str]:
    values = bank["address_steering_cosines"]
    caption = f"{bank['name']}: each procedure's address against its steering"
    alt = f"{caption}: cosines from {min(values):.2f} to {max(values):.2f}, {fmean(values):.2f} on average"
    axes = ("procedure", "cosine")
    return values_in_order(f"{start}address-steering", alt, {"address, steering": values}, axes), caption


def neighbour_table(bank: Geometry, table: Geometry) -> TableBlock:
    """Lists each procedure with its norm and its nearest neighbours."""
    both = bank.get("address_steering_cosines")
    rows = []
    for number, (name, norm, near) in enumerate(
        zip(bank["procedures"], table["norms"], table["neighbours"], strict=True)
    ):
        row = {"procedure": name, "norm": norm, "cosine": near[0]["cosine"] if near else None}
        row["near"] = ", ".join(f"{entry['procedure']} {entry['cosine']:.2f}" for entry in near)
        rows.append(row | ({"both": both[number]} if both else {}))
    columns = {
        "procedure": "procedure",
        "norm": "norm",
        "cosine": "nearest",
        "near": "nearest procedures and their cosine",
    }
    columns |= {"both": "address to steering"} if both else {}
    formats = {"norm": ".3f", "cosine": ".3f", "both": ".3f"}
    caption = f"{bank['name']}: {table['name']}"
    return TableBlock(caption, Table(rows, columns, formats), folded=len(rows) > 12)
