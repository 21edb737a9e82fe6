"""Headline numbers, the scores of every method, and the scores of every procedure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokmem.records import counted
from tokmem.report.blocks import Block, Figures, Section, TableBlock, Tiles
from tokmem.report.canvas import Plot
from tokmem.report.plots import Bar, bars
from tokmem.report.rows import (
    Run,
    by_prompt,
    final_rows,
    learned,
    method_colors,
    method_title,
    prompt_heading,
    prompt_title,
    slug,
    spread,
)
from tokmem.report.tables import Row, Table

MEASURES = {
    "rouge_l": "ROUGE-L",
    "rouge_l_forced": "ROUGE-L forced",
    "exact_match": "exact %",
    "exact_match_forced": "exact % forced",
    "routing_accuracy": "routing %",
    "routing_accuracy_over_all": "routing % over all",
}
_PLOTTED = {"rouge_l": "ROUGE-L", "routing_accuracy": "routing accuracy, %"}
_FORCED = (
    "Base: the untrained backbone. Forced: the right memory token is given. Routing %: the right memory "
    "token is the most probable memory token; over all: the most probable token. Bold: the highest of its "
    "group. ±: standard deviation over seeds."
)


def overview(runs: Sequence[Run]) -> Section:
    """Shows each run in a sentence and four numbers."""
    return Section("overview", "At a glance", [_tiles(run) for run in runs if final_rows(run.result)])


def _tiles(run: Run) -> Tiles:
    rows = final_rows(run.result)
    ours = [row for row in rows if row["method"].startswith("tokmem")] or rows
    best = max(ours, key=lambda row: row.get("rouge_l") or 0.0)
    rivals = [
        r for r in rows if not r["method"].startswith("tokmem") and r.get("prompt") == best.get("prompt")
    ]
    tiles = []
    for key, what in (
        ("rouge_l", "ROUGE-L"),
        ("exact_match", "exact answers"),
        ("routing_accuracy", "routing accuracy"),
    ):
        if best.get(key) is not None:
            percent = "" if key == "rouge_l" else " %"
            tiles.append((f"{best[key]:.1f}{percent}", what, _against(best, rivals, key)))
    if best.get("trainable_parameters"):
        tiles.append((f"{best['trainable_parameters']:,}", "trained parameters", ""))
    count, facts = learned(run.result, best), []
    facts.append(method_title(best["method"]))
    if prompt_title(best):
        facts.append(f"prompt: {prompt_title(best)}")
    facts += [counted(count)] if count else []
    facts += [f"backbone {run.result['backbone']}"] if run.result.get("backbone") else []
    facts += [f"mean of {best['seeds']} seeds"] if (best.get("seeds") or 1) > 1 else []
    return Tiles(run.title, ", ".join(facts), tiles)


def _against(best: Row, rivals: Sequence[Row], measure: str) -> str:
    """Returns the strongest rival's number in the same prompt mode."""
    measured = [row for row in rivals if row.get(measure) is not None and row is not best]
    if not measured:
        return ""
    rival = max(measured, key=lambda row: row[measure])
    return f"{method_title(rival['method'])}: {rival[measure]:.1f}"


def scores(runs: Sequence[Run]) -> Section:
    """Shows every method's scores with everything learned."""
    blocks: list[Block] = []
    for run in runs:
        rows = final_rows(run.result)
        columns = {key: title for key, title in MEASURES.items() if any(r.get(key) is not None for r in rows)}
        if not columns:
            continue
        cells = [
            {"group": prompt_heading(row), "method": method_title(row["method"])}
            | {key: spread(row, key) for key in columns}
            for _, group in by_prompt(rows)
            for row in group
        ]
        table = Table(cells, {"method": "method", **columns})
        blocks.append(TableBlock(_caption(run), table, _FORCED, "group", frozenset(columns)))
        plots = [
            (_bars(run, rows, key), f"{run.title}: {title}")
            for key, title in _PLOTTED.items()
            if key in columns
        ]
        blocks.append(Figures(plots))
    return Section("scores", "Scores", blocks)


def _caption(run: Run) -> str:
    rows = final_rows(run.result)
    counts = {k for row in rows if (k := learned(run.result, row))}
    tests = (run.result.get("examples") or {}).get("test")
    facts = [counted(max(counts))] if counts else []
    facts += [f"{tests:,} test queries"] if isinstance(tests, int) else []
    return ": ".join([run.title, ", ".join(facts)]) if facts else run.title


def _bars(run: Run, rows: Sequence[Row], measure: str) -> Plot:
    shown, colors = [], method_colors(rows)
    for _, group in by_prompt(rows):
        for row in group:
            value = spread(row, measure)
            if value is not None:
                title = method_title(row["method"])
                shown.append(Bar(prompt_heading(row), title, value.mean, value.std, colors[row["method"]]))
    words = "; ".join(f"{bar.label}{', ' + bar.group if bar.group else ''}: {bar.mean:.1f}" for bar in shown)
    return bars(
        f"scores-{run.slug}-{slug(measure)}",
        f"Bars of {_PLOTTED[measure]}. {words}",
        shown,
        _PLOTTED[measure],
    )


def per_procedure(runs: Sequence[Run]) -> Section:
    """Shows ROUGE-L of each procedure under each method."""
    blocks: list[Block] = []
    for run in runs:
        rows = [row for row in final_rows(run.result) if row.get("per_procedure")]
        if not rows:
            continue
        columns = {f"{number}": _column(row, rows) for number, row in enumerate(rows)}
        names = list(dict.fromkeys(name for row in rows for name in row["per_procedure"]))
        cells: list[dict[str, Any]] = [
            {"procedure": name}
            | {f"{n}": (row["per_procedure"].get(name) or {}).get("rouge_l") for n, row in enumerate(rows)}
            for name in names
        ]
        table = Table(cells, {"procedure": "procedure", **columns})
        caption = f"{run.title}: ROUGE-L of each of {len(names)} procedures"
        note = "Of several seeds, the first is shown." if any((r.get("seeds") or 1) > 1 for r in rows) else ""
        folded = len(names) > 12
        blocks.append(TableBlock(caption, table, note, bars=frozenset(columns), folded=folded))
    return Section("procedures", "Each procedure", blocks)


def _column(row: Row, rows: Sequence[Row]) -> str:
    title = method_title(row["method"])
    several = len({prompt_title(r) for r in rows}) > 1
    return f"{title}, {prompt_title(row)}" if several else title


_COSTS = {
    "trainable_parameters": "trained parameters",
    "prompt_tokens_per_query": "prompt tokens a query",
    "train_seconds": "training, s",
    "adaptation_lora_parameters": "LoRA parameters of the adaptation",
    "adaptation_seconds": "adaptation, s",
    "queries_per_second": "queries a second",
}


def cost(runs: Sequence[Run]) -> Section:
    """Shows what learning and answering cost."""
    blocks: list[Block] = []
    for run in runs:
        rows = [row for _, group in by_prompt(final_rows(run.result)) for row in group]
        blocks += cost_table(run, rows, [method_title(row["method"]) for row in rows])
    return Section("cost", "Cost", blocks)


def cost_table(run: Run, rows: Sequence[Row], titles: Sequence[str]) -> list[Block]:
    """Makes a table of the rows' costs under their titles; nothing if they have none."""
    columns = {key: title for key, title in _COSTS.items() if any(r.get(key) is not None for r in rows)}
    if not columns:
        return []
    cells = [
        {"group": prompt_heading(row), "method": title}
        | {key: row.get(key) if key.endswith("parameters") else spread(row, key) for key in columns}
        for row, title in zip(rows, titles, strict=True)
    ]
    device = (run.result.get("provenance") or {}).get("device")
    note = f"Times were taken on {device}." if device else ""
    return [TableBlock(run.title, Table(cells, {"method": "method", **columns}), note, "group")]
