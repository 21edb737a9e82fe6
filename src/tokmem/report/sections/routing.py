"""Which procedures are confused, and what other wordings of an instruction change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokmem.report.blocks import Block, Figures, Section, TableBlock
from tokmem.report.canvas import INK, MUTED, SERIES, Plot, draw
from tokmem.report.plots import heat_map
from tokmem.report.rows import (
    Run,
    final_rows,
    largest,
    method_title,
    prompt_heading,
    prompt_title,
    slug,
    spread,
)
from tokmem.report.tables import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SEEN = 128  # procedures in a heat map: more cannot be told apart


def confusions(runs: Sequence[Run]) -> Section:
    """Shows the pairs that are confused most often, and the whole matrix if a row has one."""
    blocks: list[Block] = []
    for run in runs:
        rows = final_rows(run.result)
        cells = [_pair(row, pair) for row in rows for pair in row.get("most_confused") or []]
        if cells:
            columns = {"expected": "query of", "chosen": "routed to", "queries": "queries"}
            caption = f"{run.title}: the pairs confused most often"
            note = "Of several seeds, the first is shown."
            blocks.append(TableBlock(caption, Table(cells, columns), note, "group", folded=len(cells) > 24))
        plots = [_matrix(run, row) for row in rows if row.get("confusion")]
        plots += _reliability(run, [row for row in rows if row.get("reliability")])
        if plots:
            blocks.append(Figures(plots))
    return Section("routing", "Confused procedures", blocks)


def probes(runs: Sequence[Run]) -> Section:
    """Shows scores under instructions other than the one in training."""
    blocks: list[Block] = []
    for run in runs:
        asked = largest(run.result.get("probes") or [])
        if not asked:
            continue
        kinds = list(dict.fromkeys(probe["instruction"] for probe in asked))
        titles = {"rouge_l": "ROUGE-L", "routing_accuracy": "routing %"}
        cells = []
        for row in final_rows(run.result):
            line: dict[str, Any] = {"group": prompt_heading(row), "method": method_title(row["method"])}
            line |= {key: spread(row, key) for key in titles}
            for probe in asked:
                if all(probe.get(key) == row.get(key) for key in ("method", "prompt", "stage")):
                    line |= {f"{probe['instruction']} {key}": spread(probe, key) for key in titles}
            cells.append(line)
        columns = {"method": "method"}
        for key, title in titles.items():
            columns |= {key: title} | {f"{kind} {key}": f"{title}, {kind}" for kind in kinds}
        blocks.append(
            TableBlock(f"{run.title}: asked with other instructions", Table(cells, columns), group="group")
        )
    return Section("probes", "Other instructions", blocks)


def _reliability(run: Run, rows: Sequence[Row]) -> list[tuple[Plot, str]]:
    """Draws for each row how often routes of a stated probability were right, beside the ideal diagonal."""
    plots = []
    for row in rows:
        caption = f"{run.title}: {_title(row)}; how often routes are right (circles: queries)"
        parts = (
            f"{right:.0f} % of {count:,} at {stated:.0f} %" for stated, right, count in row["reliability"]
        )
        name = f"reliability-{run.slug}-{slug(row['method'])}-{slug(str(row.get('prompt') or ''))}"
        alt = f"{caption}: {'; '.join(parts)}"
        plots.append((_reliability_plot(name, alt, row["reliability"]), caption))
    return plots


def _reliability_plot(name: str, alt: str, found: Sequence[tuple[float, float, int]]) -> Plot:
    """Draws how often routes were right over their probability; a circle's area and label are its queries."""

    def paint(ax: Axes) -> None:
        most = max(count for _, _, count in found)
        ax.plot((0, 100), (0, 100), color=MUTED, linewidth=1, marker="")
        for stated, right, count in found:
            ax.scatter(stated, right, s=12 + 150 * count / most, color=SERIES[1])
            ax.annotate(
                f"{count:,}",
                (stated, right),
                (0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
            )
        ax.set(xlabel="stated probability, %", ylabel="right, %", xlim=(-4, 106), ylim=(-6, 114))

    return draw(name, alt, paint)


def _title(row: Row) -> str:
    prompt = prompt_title(row)
    return method_title(row["method"]) + (f", prompt: {prompt}" if prompt else "")


def _pair(row: Row, pair: Sequence[Any]) -> Mapping[str, Any]:
    expected, chosen, queries = pair
    return {"group": _title(row), "expected": expected, "chosen": chosen, "queries": queries}


def _matrix(run: Run, row: Row) -> tuple[Plot, str]:
    """Draws shares of each procedure's queries, in percent; the most confused ones if there are many."""
    counts = {(expected, chosen): queries for expected, chosen, queries in row["confusion"]}
    names = list(
        dict.fromkeys([*(run.result.get("procedures") or ()), *(name for pair in counts for name in pair)])
    )
    wrong = dict.fromkeys(names, 0)
    total = dict.fromkeys(names, 0)
    for (expected, chosen), queries in counts.items():
        total[expected] += queries
        if expected != chosen:
            wrong[expected] += queries
            wrong[chosen] += queries
    kept = set(sorted(names, key=lambda name: -wrong[name])[:_SEEN])
    shown = [name for name in names if name in kept]
    values = [[100 * counts.get((a, b), 0) / (total[a] or 1) for b in shown] for a in shown]
    right = sum(queries for (a, b), queries in counts.items() if a == b)
    queries = sum(total.values())
    caption = f"{run.title}: {_title(row)}; where the queries of each procedure went"
    if len(shown) < len(names):
        caption += f" (the {len(shown)} most confused of {len(names)})"
    name = f"confusion-{run.slug}-{slug(row['method'])}-{slug(str(row.get('prompt') or ''))}"
    alt = f"{caption}: {right:,} of {queries:,} queries lie on the diagonal"
    axes = ("query of", "routed to")
    plot = heat_map(name, alt, values, scale=(0, 100), unit="% of queries", names=shown, axes=axes, gamma=0.4)
    return plot, caption
