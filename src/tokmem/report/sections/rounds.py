"""Tools learned in rounds: scores by round, forgetting, and the size of new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tokmem.eval.forgetting import forgetting_matrix, mean_forgetting
from tokmem.report.blocks import Block, Figures, Section, TableBlock
from tokmem.report.call_lines import FIGURES, by_variant, variant_title
from tokmem.report.canvas import Plot
from tokmem.report.plots import Line, Point, curves
from tokmem.report.rows import Run, largest, slug, spread
from tokmem.report.sections.calls import variant_colors
from tokmem.report.sections.growth import described_lines
from tokmem.report.tables import Row, Table

_FORGETTING = (
    "Forgetting: how far the tools of earlier rounds have fallen from their best, in points, averaged over "
    "rounds; a number below zero is a gain. After the last round: the mean over the tools of all rounds."
)
_KEPT = "Change: the last figure of a row minus its first; a number below zero is forgetting."
_NORMS = (
    "Mean norm of the rows learned in a round, right after it. Old: mean norm of the rows learned before, "
    "which stay as they are."
)


def rounds(runs: Sequence[Run]) -> Section:
    """Shows what became of each round's tools as later ones came."""
    blocks: list[Block] = []
    for run in runs:
        rows = [
            row
            for row in largest(run.result.get("forgetting") or [], "train_max_calls")
            if "learned" in row and "after" in row and any(_has([row], figure) for figure in FIGURES)
        ]
        if len({row["after"] for row in rows}) > 1:
            blocks += [_summary(run, rows), Figures(_curves(run, rows))]
            blocks += [_matrices(run, rows, figure) for figure in FIGURES if _has(rows, figure)]
        norms = largest(run.result.get("norms") or [], "train_max_calls")
        norms = [row for row in norms if row.get("mean_norm") is not None]
        if norms:
            blocks.append(_norm_table(run, norms))
        if len({row["round"] for row in norms}) > 1:
            blocks.append(Figures([_norm_plot(run, norms)]))
    return Section("rounds", "Tools round by round", blocks)


def _has(rows: Sequence[Row], figure: str) -> bool:
    return any(row.get(figure) is not None for row in rows)


def _scores(rows: Sequence[Row], figure: str) -> dict[tuple[int, int], float]:
    """Returns one variant's figure by (round learned, round measured)."""
    return {(row["learned"], row["after"]): row[figure] for row in rows if row.get(figure) is not None}


def _summary(run: Run, rows: Sequence[Row]) -> TableBlock:
    """Shows each variant's mean after the last round, and its mean forgetting."""
    cells, columns, formats = [], {"title": "method"}, {}
    for figure in (figure for figure in FIGURES if _has(rows, figure)):
        title = FIGURES[figure]
        columns |= {figure: f"{title} after the last round", f"{figure}_lost": f"forgetting, {title}"}
        formats[f"{figure}_lost"] = "+.1f"
    for group in by_variant(rows).values():
        line: dict[str, Any] = {"title": variant_title(group[0])}
        for figure in FIGURES:
            scores = _scores(group, figure)
            if scores:
                last = max(after for _, after in scores)
                line[figure] = fmean(score for (_, after), score in scores.items() if after == last)
                line[f"{figure}_lost"] = mean_forgetting(forgetting_matrix(scores))
        cells.append(line)
    caption = f"{run.title}: after the last round, and forgotten on the way"
    return TableBlock(caption, Table(cells, columns, formats), _FORGETTING, best=frozenset(FIGURES))


def _curves(run: Run, rows: Sequence[Row]) -> list[tuple[Plot, str]]:
    """Draws each figure as the mean over all tools learned so far, and for the first round's tools alone."""
    plots = []
    for figure, title in FIGURES.items():
        scores = {name: _scores(group, figure) for name, group in by_variant(rows).items()}
        first = {
            name: {key: value for key, value in of.items() if key[0] == 1} for name, of in scores.items()
        }
        for what, chosen in (("all tools learned so far", scores), ("the first round's tools", first)):
            lines = _lines(run, rows, chosen)
            if lines:
                caption = f"{run.title}: {title} on {what}"
                name = f"rounds-{run.slug}-{slug(figure)}-{slug(what)}"
                plot = curves(name, f"{caption}. {described_lines(lines)}", lines, "after round", title)
                plots.append((plot, caption))
    return plots


def _lines(
    run: Run, rows: Sequence[Row], scores: Mapping[str, Mapping[tuple[int, int], float]]
) -> list[Line]:
    """Makes a line for each variant: at each round, the mean over the rounds in its scores."""
    colors, lines = variant_colors(run), []
    for name, group in by_variant(rows).items():
        ends = sorted({after for _, after in scores[name]})
        points = [
            Point(end, fmean(score for (_, after), score in scores[name].items() if after == end))
            for end in ends
        ]
        if points:
            lines.append(Line(variant_title(group[0]), points, colors[name]))
    return lines


def _matrices(run: Run, rows: Sequence[Row], figure: str) -> TableBlock:
    """Shows each round's test set after it and after each later round, one group a variant."""
    cells: list[dict[str, Any]] = []
    for group in by_variant(rows).values():
        for learned in sorted({row["learned"] for row in group}):
            measured = {
                row["after"]: value
                for row in group
                if row["learned"] == learned and (value := spread(row, figure)) is not None
            }
            line: dict[str, Any] = {"group": variant_title(group[0]), "learned": f"round {learned}"}
            line |= {f"{after}": value for after, value in measured.items()}
            if len(measured) > 1:
                line["change"] = measured[max(measured)].mean - measured[min(measured)].mean
            cells.append(line)
    columns = {f"{after}": f"after {after}" for after in sorted({row["after"] for row in rows})}
    table = Table(cells, {"learned": "tools of", **columns, "change": "change"}, {"change": "+.1f"})
    caption = f"{run.title}: {FIGURES[figure]} on the tools of each round, after it and later"
    return TableBlock(caption, table, _KEPT, "group", folded=len(cells) > 24)


def _norm_table(run: Run, norms: Sequence[Row]) -> TableBlock:
    cells: list[dict[str, Any]] = []
    for group in by_variant(norms).values():
        line: dict[str, Any] = {"title": variant_title(group[0])}
        for row in group:
            line[f"{row['round']}"] = spread(row, "mean_norm")
            line[f"{row['round']} old"] = spread(row, "old_mean_norm")
        cells.append(line)
    columns = {}
    for number in sorted({row["round"] for row in norms}):
        columns[f"{number}"] = f"round {number}"
        if any(line.get(f"{number} old") is not None for line in cells):
            columns[f"{number} old"] = "old"
    table = Table(cells, {"title": "method", **columns}, dict.fromkeys(columns, ".2f"))
    return TableBlock(f"{run.title}: norms of new rows by round", table, _NORMS)


def _norm_plot(run: Run, norms: Sequence[Row]) -> tuple[Plot, str]:
    colors, lines = variant_colors(run), []
    for name, group in by_variant(norms).items():
        values = [(row["round"], spread(row, "mean_norm")) for row in group]
        points = [Point(number, value.mean, value.std) for number, value in values if value is not None]
        lines.append(Line(variant_title(group[0]), points, colors[name]))
    caption = f"{run.title}: mean norm of the rows learned in each round"
    plot = curves(f"norms-{run.slug}", f"{caption}. {described_lines(lines)}", lines, "round", "mean norm")
    return plot, caption
