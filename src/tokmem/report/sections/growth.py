"""Growth: scores by number of procedures, forgetting, and the number of examples that learning needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokmem.report.blocks import Block, Figures, Section, TableBlock
from tokmem.report.canvas import Plot
from tokmem.report.plots import Line, Point, curves
from tokmem.report.rows import (
    Run,
    by_method,
    by_prompt,
    final_rows,
    largest,
    learned,
    method_colors,
    method_title,
    prompt_heading,
    prompt_title,
    sample_rows,
    slug,
    spread,
    staged_rows,
    stages,
)
from tokmem.report.tables import Row, Spread, Table

_MEASURES = {"rouge_l": "ROUGE-L", "routing_accuracy": "routing accuracy, %"}
_Place = Callable[[Row], float | None]


def growth(runs: Sequence[Run]) -> Section:
    """Shows scores over the number of learned procedures if a run measured several numbers."""
    plots = []
    for run in runs:
        if len(stages(run.result)) > 1:
            place = _learned_in(run)
            plots += _plots(run, "growth", staged_rows(run.result), place, "procedures learned")
    return Section("growth", "Scores by number of procedures", [Figures(plots)] if plots else [])


def _learned_in(run: Run) -> _Place:
    return lambda row: learned(run.result, row)


def sample_efficiency(runs: Sequence[Run]) -> Section:
    """Shows scores over the number of training examples of a procedure."""
    blocks: list[Block] = []
    for run in runs:
        rows = sample_rows(run.result)
        if not rows:
            continue
        plots = _plots(run, "samples", rows, lambda row: row["train_size"], "training examples a procedure")
        sizes = sorted({row["train_size"] for row in rows})
        cells = [
            {"group": prompt_heading(of_method[0]), "method": method_title(method)}
            | {f"{row['train_size']}": spread(row, "rouge_l") for row in of_method}
            for _, of_prompt in by_prompt(rows)
            for method, of_method in by_method(of_prompt)
        ]
        table = Table(cells, {"method": "method", **{f"{n}": f"{n:,}" for n in sizes}})
        caption = f"{run.title}: ROUGE-L by training examples a procedure"
        blocks += [Figures(plots), TableBlock(caption, table, group="group")]
    return Section("samples", "Sample efficiency", blocks)


def _plots(run: Run, what: str, rows: Sequence[Row], place: _Place, x: str) -> list[tuple[Plot, str]]:
    """Draws a plot for each measure and prompt mode, with a line for each method."""
    plots, colors = [], method_colors(rows)
    for prompt, of_prompt in by_prompt(rows):
        for measure, title in _MEASURES.items():
            lines = []
            for method, of_method in by_method(of_prompt):
                points = _points(of_method, measure, place)
                if points:
                    lines.append(Line(method_title(method), points, colors[method]))
            if lines:
                name = f"{what}-{run.slug}-{slug(prompt)}-{slug(measure)}"
                caption = f"{run.title}: {title}" + (f", prompt: {prompt}" if prompt else "")
                plots.append((curves(name, f"{caption}. {described_lines(lines)}", lines, x, title), caption))
    return plots


def _points(rows: Sequence[Row], measure: str, place: _Place) -> list[Point]:
    points = []
    for row in rows:
        x, value = place(row), spread(row, measure)
        if x is not None and value is not None:
            points.append(Point(x, value.mean, value.std))
    return points


def described_lines(lines: Sequence[Line]) -> str:
    """Says where each line begins and ends, for readers who do not see it."""
    parts = []
    for line in lines:
        first, last = min(line.points), max(line.points)
        parts.append(f"{line.label}: {first.mean:.1f} at {first.x:g}, {last.mean:.1f} at {last.x:g}")
    return "; ".join(parts)


def forgetting(runs: Sequence[Run]) -> Section:
    """Shows what became of the procedures of each stage as later ones came."""
    blocks: list[Block] = []
    for run in runs:
        blocks += _since_learned(run)
        rows = largest(run.result.get("forgetting") or [])
        for measure, title in _MEASURES.items():
            lines = _kept(rows, measure)
            if lines:
                blocks += [
                    _forgetting_table(run, title, lines),
                    Figures(_forgetting_plots(run, measure, lines)),
                ]
    return Section("forgetting", "Forgetting", blocks)


def _since_learned(run: Run) -> list[TableBlock]:
    """Shows each procedure's score right after its own training and its score now, if a run kept both."""
    cells = []
    for row in final_rows(run.result):
        line: dict[str, Any] = {"group": prompt_heading(row), "method": method_title(row["method"])}
        for measure in _MEASURES:
            then, now = spread(row, f"{measure}_when_learned"), spread(row, measure)
            if then is not None and now is not None:
                line |= {f"{measure}_then": then, measure: now, f"{measure}_change": now.mean - then.mean}
        cells += [line] if len(line) > 2 else []
    columns = {"method": "method"}
    for measure, title in _MEASURES.items():
        if any(measure in line for line in cells):
            columns |= {
                f"{measure}_then": f"{title}, when learned",
                measure: "now",
                f"{measure}_change": "change",
            }
    formats = {f"{measure}_change": "+.1f" for measure in _MEASURES}
    caption = f"{run.title}: right after a procedure was learned, and with everything learned"
    note = "Means over procedures. Change: now minus when learned; a number below zero is forgetting."
    return [TableBlock(caption, Table(cells, columns, formats), note, "group")] if cells else []


_Kept = Mapping[tuple[str, str, int], Sequence[tuple[int, Spread]]]


def _kept(rows: Sequence[Row], measure: str) -> _Kept:
    """Groups the measurements at later stages, ascending, by prompt mode, method and stage of learning."""
    lines: dict[tuple[str, str, int], list[tuple[int, Spread]]] = {}
    for row in rows:
        value = spread(row, measure)
        if value is not None and "learned_at" in row and "evaluated_at" in row:
            key = (prompt_title(row), row["method"], int(row["learned_at"]))
            lines.setdefault(key, []).append((int(row["evaluated_at"]), value))
    ordered = sorted(lines.items(), key=lambda entry: (list(lines).index(entry[0]), entry[0][2]))
    return {key: sorted(points) for key, points in ordered}


def _forgetting_table(run: Run, title: str, lines: _Kept) -> TableBlock:
    cells: list[dict[str, Any]] = []
    for (prompt, method, learned_at), points in lines.items():
        change = points[-1][1].mean - points[0][1].mean if len(points) > 1 else None
        group = method_title(method) + (f", prompt: {prompt}" if prompt else "")
        line = {"group": group, "learned": f"by {learned_at:,}", "change": change}
        cells.append(line | {f"{k}": value for k, value in points})
    seen = sorted({k for points in lines.values() for k, _ in points})
    columns = {"learned": "learned", **{f"{k}": f"at {k:,}" for k in seen}, "change": "change"}
    return TableBlock(
        f"{run.title}: {title} on the procedures of each stage, at that stage and later",
        Table(cells, columns, {"change": "+.1f"}),
        "Change: the last figure of a row minus its first; a number below zero is forgetting.",
        group="group",
    )


def _forgetting_plots(run: Run, measure: str, lines: _Kept) -> list[tuple[Plot, str]]:
    """Draws one plot for each method and prompt mode, with a line for each stage of learning."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for (prompt, method, learned_at), points in lines.items():
        group = groups.setdefault((prompt, method), [])
        values = [Point(k, value.mean, value.std) for k, value in points]
        group.append(Line(f"by {learned_at:,}", values, 1 + len(group) % 6))
    title, plots = _MEASURES[measure], []
    means = [p.mean for group in groups.values() for line in group for p in line.points]
    limits = (min(means) - 3, min(max(means) + 3, 100.5))
    for number, ((prompt, method), group) in enumerate(groups.items()):
        caption = f"{run.title}: {method_title(method)}, {title}" + (f", prompt: {prompt}" if prompt else "")
        name = f"forgetting-{run.slug}-{measure.replace('_', '-')}-{number}"
        alt = f"{caption}; the procedures of each stage. {described_lines(group)}"
        plots.append((curves(name, alt, group, "procedures learned", title, limits=limits), caption))
    return plots
