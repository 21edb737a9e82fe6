"""The capacity of a few embeddings: passages memorised, problems solved; before or after the query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokmem.report.blocks import Block, Figures, Listing, Note, Section, TableBlock
from tokmem.report.canvas import Plot
from tokmem.report.paper import MEMORISED, REASONED, SOURCE, TOKENS, not_comparable
from tokmem.report.plots import Line, Point, curves
from tokmem.report.rows import Run, by_method, method_colors, method_title, slug, spread
from tokmem.report.sections.growth import described_lines
from tokmem.report.tables import Row, Spread, Table

TRACK = "capacity"
_CURVES = {
    "recovered_tokens": "tokens recovered",
    "bits_per_embedding": "bits gained an embedding",
}
_MEASURED = {
    "untrained_perplexity": "perplexity without memory",
    "perplexity": "perplexity",
    "token_accuracy": "tokens right, %",
    "recovered_sequences": "sequences recovered, %",
    "recovered_tokens": "tokens recovered",
    "bits_per_embedding": "bits an embedding",
    "steps_to_90": "steps @90%",
}
_GEOMETRY = {"norm_start": "norm at the start", "norm": "norm", "angle": "angle, degrees", "cosine": "cosine"}
_SCORES = {"compliance": "#### %", "exact_match": "exact %"}
_FORM = (
    "Steps@90%Best / perplexity. Steps: the first check whose perplexity is at most the best perplexity "
    "divided by 0.9. ±: standard deviation over runs with different passages."
)
_HELD = (
    "Without memory: the untrained backbone reads the marker alone. Right: the model's first choice is the "
    "next token, given the true beginning. Recovered: the model writes greedily from marker and memory; a "
    "sequence counts as a whole, tokens count up to the first wrong one. Bits: how far the log-loss falls "
    "below that of the model without memory."
)
_ANOTHER = not_comparable("Tables 4 and 6")


def memorised(runs: Sequence[Run]) -> Section:
    """Shows passages that a few embeddings hold: Table 4's form, curves, norms, and the written text."""
    blocks: list[Block] = []
    for run in _of_task(runs, "memorise"):
        rows, fewer = _full(run.result["rows"])
        blocks += [
            TableBlock(f"{run.title}: by tokens held", _table4(rows), _FORM, "group"),
            TableBlock(f"{run.title}: what was held", _measured(rows, _MEASURED), _HELD, "group"),
            Figures(_capacity_plots(run, rows)),
        ]
        if fewer:
            blocks.append(Figures(_dimension_plots(run, [*rows, *fewer])))
        caption = f"{run.title}: how embeddings moved from their start"
        blocks.append(TableBlock(caption, _measured([*rows, *fewer], _GEOMETRY), "", "group", folded=True))
        blocks += _written(run)
    return Section("memorised", "Passages memorised", [Note(_ANOTHER), *blocks] if blocks else [])


def reasoned(runs: Sequence[Run]) -> Section:
    """Shows word problems: the form of Table 6, and curves over the number of training problems."""
    blocks: list[Block] = []
    for run in _of_task(runs, "reason"):
        rows = run.result["rows"]
        note = "Compliance with the line `####` / exact match, percent. ±: standard deviation over seeds."
        blocks.append(TableBlock(f"{run.title}: by training problems", _table6(run, rows), note, "group"))
        plots = list(_size_plots(run, rows))
        if plots:
            blocks.append(Figures(plots))
    return Section("reasoned", "Word problems", [Note(_ANOTHER), *blocks] if blocks else [])


def _of_task(runs: Sequence[Run], task: str) -> list[Run]:
    return [run for run in runs if run.result.get("task") == task and run.result["rows"]]


def _full(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Returns rows that train whole embeddings, and rows of the same methods that train fewer coordinates."""
    whole: dict[str, int] = {}
    for row in rows:
        whole[row["method"]] = max(row["dimension"], whole.get(row["method"], 0))
    full = [r for r in rows if r["dimension"] == whole[r["method"]]]
    return full, [r for r in rows if r["dimension"] < whole[r["method"]]]


def _title(row: Row) -> str:
    """Makes the paper's title: the method and its number of embeddings."""
    count = row.get("embeddings")
    return f"{method_title(row['method'])}-{count}" if count else method_title(row["method"])


def _table4(rows: Sequence[Row]) -> Table:
    """Makes rows by method and embeddings, with columns by tokens; the paper's rows are below."""
    ours: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: r["embeddings"]):
        line = ours.setdefault(_title(row), {"group": "ours", "method": _title(row)})
        line[f"{row['tokens']}"] = _pair(spread(row, "steps_to_90"), spread(row, "perplexity"), ".0f", ".2f")
    theirs = [
        {
            "group": f"The paper, another backbone ({SOURCE}, Table 4)",
            "method": f"{one.method}-{one.embeddings}",
        }
        | {f"{n}": f"{s} / {p}" for n, s, p in zip(TOKENS, one.steps, one.perplexity, strict=True)}
        for one in MEMORISED
    ]
    counts = sorted({*TOKENS, *(row["tokens"] for row in rows)})
    columns = {"method": "method", **{f"{n}": f"{n:,} tokens" for n in counts}}
    return Table([*ours.values(), *theirs], columns)


def _table6(run: Run, rows: Sequence[Row]) -> Table:
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault(_title(row), {"group": "ours", "method": _title(row)})
        line[f"{row['train_size']}"] = _pair(
            spread(row, "compliance"), spread(row, "exact_match"), ".1f", ".1f"
        )
    theirs = [
        {
            "group": f"The paper on GSM8K, another backbone: {one.backbone}",
            "method": f"{one.method}-1",
            "fifth": f"{one.fifth[0]} / {one.fifth[1]}",
            "whole": f"{one.whole[0]} / {one.whole[1]}",
        }
        for one in REASONED
    ]
    sizes = sorted({row["train_size"] for row in rows})
    columns = {"method": "method", **{f"{n}": f"{n:,} problems" if n else "untrained" for n in sizes}}
    return Table([*lines.values(), *theirs], columns | {"fifth": "a fifth of GSM8K", "whole": "all of it"})


def _pair(first: Spread | None, second: Spread | None, *formats: str) -> str:
    return " / ".join(
        "-" if one is None else _with_std(one, spec)
        for one, spec in zip((first, second), formats, strict=True)
    )


def _with_std(value: Spread, spec: str) -> str:
    mean = format(value.mean, spec)
    return mean if value.std is None else f"{mean} ± {value.std:{spec}}"


def _measured(rows: Sequence[Row], measures: Mapping[str, str]) -> Table:
    cells = [
        {"group": f"{row['tokens']:,} tokens", "method": _title(row), "dimension": row["dimension"]}
        | {key: spread(row, key) for key in measures}
        for row in sorted(rows, key=lambda r: (r["tokens"], r["embeddings"]))
    ]
    several = len({row["dimension"] for row in rows}) > 1
    columns = {"method": "method", **({"dimension": "coordinates trained"} if several else {}), **measures}
    formats = {"steps_to_90": ".0f", "cosine": ".3f", "perplexity": ".2f", "norm": ".2f", "norm_start": ".2f"}
    return Table(cells, columns, formats)


def _capacity_plots(run: Run, rows: Sequence[Row]) -> list[tuple[Plot, str]]:
    """Draws measures over the number of embeddings, a plot for each measure and number of tokens."""
    plots = []
    for tokens in sorted({row["tokens"] for row in rows}):
        part = [row for row in rows if row["tokens"] == tokens]
        for measure, title in _CURVES.items():
            caption = f"{run.title}: {title}, {tokens:,} tokens"
            name = f"memorised-{run.slug}-{slug(measure)}-{tokens}"
            plots.append(_plot(name, caption, part, "embeddings", measure, title))
    return plots


def _dimension_plots(run: Run, rows: Sequence[Row]) -> list[tuple[Plot, str]]:
    """Draws measures over the number of trained coordinates, for the portion with several such numbers."""
    few = next(row for row in rows if row["dimension"] == min(r["dimension"] for r in rows))
    _, fewer = _full(rows)
    tried = {row["method"] for row in fewer}
    shape = (few["embeddings"], few["tokens"])
    part = [r for r in rows if r["method"] in tried and (r["embeddings"], r["tokens"]) == shape]
    plots = []
    for measure, title in _CURVES.items():
        caption = f"{run.title}: {title} by coordinates trained, {few['embeddings']} embeddings"
        name = f"dimension-{run.slug}-{slug(measure)}"
        plots.append(_plot(name, caption, part, "dimension", measure, title))
    return plots


def _size_plots(run: Run, rows: Sequence[Row]) -> Iterator[tuple[Plot, str]]:
    """Draws measures over the number of training problems if there are several."""
    trained = [row for row in rows if row["train_size"]]
    if len({row["train_size"] for row in trained}) < 2:
        return
    for count in sorted({row["embeddings"] for row in trained}):
        part = [row for row in trained if row["embeddings"] == count]
        for measure, title in _SCORES.items():
            caption = f"{run.title}: {title}, {count} embedding{'s' if count > 1 else ''}"
            name = f"reasoned-{run.slug}-{slug(measure)}-{count}"
            yield _plot(name, caption, part, "train_size", measure, title)


def _plot(name: str, caption: str, rows: Sequence[Row], x: str, measure: str, title: str) -> tuple[Plot, str]:
    """Draws a line for each method."""
    colors, lines = method_colors(rows), []
    for method, of_method in by_method(rows):
        values = [(row[x], spread(row, measure)) for row in of_method]
        points = [Point(place, value.mean, value.std) for place, value in values if value is not None]
        lines.append(Line(method_title(method), points, colors[method]))
    axis = {"train_size": "training problems", "dimension": "coordinates trained"}.get(x, x)
    return curves(name, f"{caption}. {described_lines(lines)}", lines, axis, title), caption


def _written(run: Run) -> list[Block]:
    """Lists the sequences of each part's best run beside the text written from memory."""
    parts = []
    for entry in run.result.get("memorised") or []:
        head = f"{_title(entry)}, {entry['tokens']} tokens, {entry['dimension']} coordinates"
        texts = [
            f"  {one['marker']}\n    passage: {one['passage']!r}\n    written: {one['written']!r}"
            for one in entry["written"]
        ]
        parts.append("\n".join([head, *texts]))
    return [Listing(f"{run.title}: what was written from memory", "\n\n".join(parts))] if parts else []
