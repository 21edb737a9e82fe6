"""Chains of tool calls: scores by number of calls, beside the paper's, and by number of calls in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokmem.report.blocks import Block, Figures, Note, Section, TableBlock, Tiles, plain_number
from tokmem.report.call_lines import (
    FIGURES,
    MEASURES,
    Line,
    by_variant,
    call_lines,
    figure_columns,
    final_calls,
    headline,
    over_test_sets,
    variant,
)
from tokmem.report.canvas import Plot
from tokmem.report.paper import CALLS, CALLS_SEEN, LLAMA_3B, TOOL_CALLS, not_comparable
from tokmem.report.plots import Bar, Point, bars, curves
from tokmem.report.plots import Line as Curve
from tokmem.report.rows import Run, method_colors, slug, spread
from tokmem.report.sections.growth import described_lines
from tokmem.report.sections.scores import cost_table
from tokmem.report.tables import Spread, Table

_F1 = (
    "F1 is over multisets and averaged over examples. Tool F1 compares names; call F1 compares names with "
    "arguments, as syntax trees. The average is over the columns with two calls or more. TokMem without "
    "further words uses a backbone that was first adapted on auxiliary tools. Bold: the highest of its group."
)
_EXPLAINED = (
    "All figures are over all numbers of calls. Tools given: the ground-truth memory tokens are forced. "
    "Arguments F1 ignores the tool. Exact: all calls and no other. Invalid JSON and schema broken are shares "
    "of the written calls. Retrieval figures are for the tools shown in the prompt."
)
_SEEN = "The average is over the numbers of calls from two up."
_WARNING = not_comparable(
    "Tables 3 and 5; its argument F1 is our call F1",
    "50 tools of APIGen, 5,000 training and 500 test queries",
)


def call_overview(runs: Sequence[Run]) -> Section:
    """Shows each run in a sentence and four numbers."""
    return Section("overview", "At a glance", [_tiles(run) for run in runs if run.result["rows"]])


def _tiles(run: Run) -> Tiles:
    lines = over_test_sets(call_lines(final_calls(run.result["rows"])))
    ours = [line for line in lines if line["method"].startswith("tokmem")] or lines
    best = max(ours, key=lambda line: headline(line, "call_f1") or 0.0)
    rivals = [line for line in lines if not line["method"].startswith("tokmem") and line is not best]
    tiles = []
    for key, title in (
        ("tool_f1 average", "tool F1"),
        ("call_f1 average", "call F1"),
        ("call_exact", "exact answers"),
    ):
        value = plain_number(best.get(key))
        if value is not None:
            percent = " %" if key == "call_exact" else ""
            tiles.append((f"{value:.1f}{percent}", title, _against(rivals, key)))
    if best.get("trainable_parameters"):
        tiles.append((f"{best['trainable_parameters']:,.0f}", "trained parameters", ""))
    facts = [best["title"]]
    facts += [_tested(best)] if best.get("tools") else []
    facts += [f"backbone {run.result['backbone']}"] if run.result.get("backbone") else []
    facts += [f"mean of {best['seeds']:.0f} seeds"] if (best.get("seeds") or 1) > 1 else []
    return Tiles(run.title, ", ".join(facts), tiles)


def _against(rivals: Sequence[Line], key: str) -> str:
    measured = [(value, line) for line in rivals if (value := plain_number(line.get(key))) is not None]
    if not measured:
        return ""
    value, rival = max(measured, key=lambda entry: entry[0])
    return f"{rival['title']}: {value:.1f}"


def call_scores(runs: Sequence[Run]) -> Section:
    """Shows every variant's figures after its last round: the columns of the paper's Table 3, and more."""
    blocks: list[Block] = []
    for run in runs:
        lines = call_lines(final_calls(run.result["rows"]))
        whole = over_test_sets(lines)
        if not figure_columns(whole):
            continue
        blocks += [_paper_form(run, whole), Figures(_plots(run, whole)), _every_measure(run, whole)]
        if len(whole) < len(lines):
            by_tools = sorted(lines, key=lambda line: _first_tool(line.get("tools")))
            blocks.append(_paper_form(run, by_tools, folded=True))
    return Section("calls", "Chains of tool calls", blocks)


def _paper_form(run: Run, lines: Sequence[Line], *, folded: bool = False) -> TableBlock:
    columns, cells = figure_columns(lines), [{**line, "group": _tested(line)} for line in lines]
    caption = f"{run.title}: tools and calls by number of calls" + (", each test set" if folded else "")
    titles = {"title": "method", "trainable_parameters": "trained parameters", **columns}
    return TableBlock(caption, Table(cells, titles), _F1, "group", frozenset(columns), folded=folded)


def _every_measure(run: Run, lines: Sequence[Line]) -> TableBlock:
    columns = {
        key: title for key, title in MEASURES.items() if any(line.get(key) is not None for line in lines)
    }
    cells = [
        {**line, "group": _tested(line), **{key: spread(line, key) for key in columns}} for line in lines
    ]
    best = frozenset(key for key in columns if not key.startswith("invalid"))
    table = Table(cells, {"title": "method", **columns})
    return TableBlock(f"{run.title}: every measure", table, _EXPLAINED, "group", best)


def _tested(line: Line) -> str:
    """Makes the heading of the lines of one test set."""
    if not line.get("tools"):
        return ""
    parts = [f"tools {line['tools']}" if line["tools"] != "all" else "mean over the tools of all rounds"]
    parts += [f"after round {line['round']}"] if line.get("round") is not None else []
    most = line.get("train_max_calls")
    parts += [f"trained on at most {most} calls"] if most is not None else []
    return ", ".join(parts)


def _first_tool(tools: Any) -> int:
    first = str(tools or "").partition("-")[0]
    return int(first) if first.isdecimal() else 0


def _plots(run: Run, lines: Sequence[Line]) -> list[tuple[Plot, str]]:
    """Draws averages as bars, and call F1 over the number of calls."""
    colors, plots = variant_colors(run), []
    for figure, title in FIGURES.items():
        shown = [
            Bar("", line["title"], value.mean, value.std, colors[variant(line)])
            for line in lines
            if (value := _as_spread(line.get(f"{figure} average"))) is not None
        ]
        if not shown:
            continue
        words = "; ".join(f"{bar.label}: {bar.mean:.1f}" for bar in shown)
        caption = f"{run.title}: {title}, average"
        plots.append((bars(f"calls-{run.slug}-{slug(figure)}", f"{caption}. {words}", shown, title), caption))
    by_calls = [
        Curve(line["title"], points, colors[variant(line)])
        for line in lines
        if len(points := _by_count(line, "call_f1")) > 1
    ]
    if by_calls:
        caption = f"{run.title}: call F1 by number of calls"
        name, alt = f"calls-{run.slug}-by-number", f"{caption}. {described_lines(by_calls)}"
        plots.append((curves(name, alt, by_calls, "calls a query asks for", "call F1"), caption))
    return plots


def variant_colors(run: Run) -> dict[str, int]:
    """Gives each variant a colour, the same in all plots of a run."""
    parts = ("rows", "forgetting", "norms")
    return method_colors([{"method": variant(row)} for part in parts for row in run.result.get(part) or []])


def _as_spread(value: Any) -> Spread | None:
    number = plain_number(value)
    return value if isinstance(value, Spread) or number is None else Spread(number, None, 1)


def _by_count(line: Line, figure: str) -> list[Point]:
    points = []
    for key, value in line.items():
        name, _, count = key.partition(" ")
        cell = _as_spread(value) if name == figure and count.isdecimal() else None
        if cell is not None:
            points.append(Point(int(count), cell.mean, cell.std))
    return points


def calls_beside_the_paper(runs: Sequence[Run]) -> Section:
    """Shows our figures in the form of Table 3 with the paper's below."""
    ours = [
        {**line, "group": ", ".join(filter(None, (run.title, _backbone(run), _tested(line))))}
        for run in runs
        for line in over_test_sets(call_lines(final_calls(run.result["rows"])))
    ]
    if not ours:
        return Section("calls-paper", "Tool calls beside the paper", [])
    theirs = [
        {"group": f"The paper, another backbone and other data: {row.backbone}", "title": row.method}
        | {"trainable_parameters": row.parameters}
        | {f"tool_f1 {n}": value for n, value in zip((*CALLS, "average"), row.tool_f1, strict=True)}
        | {f"call_f1 {n}": value for n, value in zip((*CALLS, "average"), row.call_f1, strict=True)}
        for row in TOOL_CALLS
    ]
    columns = {"title": "method", "trainable_parameters": "trained parameters"}
    columns |= figure_columns([*ours, *theirs])
    table = Table([*ours, *theirs], columns)
    caption = "Tool F1 and call F1 by number of calls; the paper's Table 3 below ours"
    return Section(
        "calls-paper",
        "Tool calls beside the paper",
        [Note(_WARNING), TableBlock(caption, table, group="group")],
    )


def _backbone(run: Run) -> str:
    return f"backbone {run.result['backbone']}" if run.result.get("backbone") else ""


def calls_seen(runs: Sequence[Run]) -> Section:
    """Shows figures on long chains after training on shorter ones (the paper's Table 5)."""
    blocks: list[Block] = []
    for run in runs:
        rows = [row for row in run.result["rows"] if row.get("train_max_calls") is not None]
        most = sorted({row["train_max_calls"] for row in rows})
        if len(most) < 2:
            continue
        lines = [
            line
            for n in most
            for line in over_test_sets(
                call_lines(final_calls([row for row in rows if row["train_max_calls"] == n]))
            )
        ]
        figures = [figure for figure in FIGURES if f"{figure} average" in figure_columns(lines)]
        if figures:
            blocks += [_seen_table(run, lines, most, figure) for figure in figures]
            blocks.append(Figures([_seen_plot(run, lines, figure) for figure in figures]))
    return Section("calls-seen", "Calls seen in training", blocks)


def _seen_table(run: Run, lines: Sequence[Line], most: Sequence[int], figure: str) -> TableBlock:
    cells: list[dict[str, Any]] = [
        {"group": run.title, "title": group[0]["title"]}
        | {f"{line['train_max_calls']}": line[f"{figure} average"] for line in group}
        for group in by_variant(lines).values()
    ]
    counts = sorted({*most, *range(1, 5)}) if figure == "call_f1" else most
    if figure == "call_f1":
        group = f"The paper, another backbone and other data: {LLAMA_3B}"
        cells += [
            {"group": group, "title": row.method} | {f"{n}": value for n, value in enumerate(row.figures, 1)}
            for row in CALLS_SEEN
        ]
    columns = {"title": "method", **{f"{n}": f"at most {n}" for n in counts}}
    caption = f"{run.title}: {FIGURES[figure]}, average, by the calls of a training query"
    return TableBlock(caption, Table(cells, columns), _SEEN, "group")


def _seen_plot(run: Run, lines: Sequence[Line], figure: str) -> tuple[Plot, str]:
    colors = variant_colors(run)
    shown = []
    for name, group in by_variant(lines).items():
        points = [
            Point(line["train_max_calls"], n) for line in group if (n := headline(line, figure)) is not None
        ]
        if points:
            shown.append(Curve(group[0]["title"], points, colors[name]))
    caption = f"{run.title}: {FIGURES[figure]}, average, by the most calls in training"
    name, alt = f"calls-seen-{run.slug}-{slug(figure)}", f"{caption}. {described_lines(shown)}"
    return curves(name, alt, shown, "most calls of a training query", FIGURES[figure]), caption


def call_cost(runs: Sequence[Run]) -> Section:
    """Shows what learning and answering cost."""
    blocks: list[Block] = []
    for run in runs:
        lines = over_test_sets(call_lines(final_calls(run.result["rows"])))
        blocks += cost_table(run, lines, [line["title"] for line in lines])
    return Section("cost", "Cost", blocks)
