"""Our figures in the form of the paper's tables, with the paper's own below."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tokmem.report.blocks import Block, Note, Section, TableBlock
from tokmem.report.paper import ROUGE_L, ROUTING, TASKS, PaperRow, not_comparable
from tokmem.report.rows import Run, by_method, by_prompt, learned, method_title, spread, staged_rows, stages
from tokmem.report.tables import Spread, Table

_WARNING = not_comparable(
    "Tables 1 and 2", "Super-NaturalInstructions with 500 training and 50 test examples a task"
)
_TABLES = (
    ("rouge_l", "ROUGE-L", "Table 1", ROUGE_L),
    ("routing_accuracy", "Routing accuracy, %", "Table 2", ROUTING),
)


def beside_the_paper(runs: Sequence[Run]) -> Section:
    """Shows methods as rows and numbers of learned procedures as columns: ROUGE-L, then routing."""
    blocks: list[Block] = []
    for measure, title, source, paper in _TABLES:
        ours = [row for run in runs for row in _ours(run, measure)]
        if not ours:
            continue
        counts = sorted({*TASKS, *(k for run in runs for k in stages(run.result))})
        rows = [*ours, *_theirs(paper)]
        columns = {f"{k}": f"{k:,}" for k in counts if any(f"{k}" in row for row in rows)}
        table = Table(rows, {"method": "method", **columns, "average": "average"})
        caption = f"{title} by number of procedures learned; the paper's {source} below ours"
        blocks.append(
            TableBlock(caption, table, "The average is over the columns that a row has.", group="group")
        )
    return Section("paper", "Beside the paper", [Note(_WARNING), *blocks] if blocks else [])


def _ours(run: Run, measure: str) -> list[dict[str, Any]]:
    lines = []
    for prompt, of_prompt in by_prompt(staged_rows(run.result)):
        heading = [run.title, f"backbone {run.result.get('backbone')}" if run.result.get("backbone") else ""]
        heading.append(f"prompt: {prompt}" if prompt else "")
        for method, of_method in by_method(of_prompt):
            cells: dict[str, Spread] = {}
            for row in of_method:
                count, value = learned(run.result, row), spread(row, measure)
                if count is not None and value is not None:
                    cells[f"{count}"] = value
            if cells:
                line = {"group": ", ".join(filter(None, heading)), "method": method_title(method), **cells}
                lines.append(line | {"average": _average([cell.mean for cell in cells.values()])})
    return lines


def _theirs(rows: Sequence[PaperRow]) -> list[dict[str, Any]]:
    return [
        {
            "group": f"The paper, another backbone: {row.backbone}",
            "method": row.method,
            **{f"{k}": figure for k, figure in zip(TASKS, row.figures, strict=True)},
            "average": _average(row.figures),
        }
        for row in rows
    ]


def _average(figures: Sequence[float]) -> float | None:
    """Averages several figures; a mean of one would only repeat it."""
    return fmean(figures) if len(figures) > 1 else None
