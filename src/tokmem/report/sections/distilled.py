"""Prompts that a few tokens stand for: what students keep of their teachers."""

from __future__ import annotations

from collections.abc import Sequence

from tokmem.report.blocks import Block, Figures, Section, TableBlock
from tokmem.report.canvas import Plot
from tokmem.report.distilled import MEANS, TASKS, Line, lines_table, mean_lines, task_lines
from tokmem.report.plots import Line as Curve
from tokmem.report.plots import Point, curves
from tokmem.report.rows import Run, by_method, method_colors, method_title, slug, spread
from tokmem.report.sections.growth import described_lines
from tokmem.report.tables import Row

_CURVES = {"student": "ROUGE-L", "kl": "KL, nats a token"}
# Columns that are drawn beside the curves of a measure, with their names. They use no memory token.
_BESIDE = {"student": {"teacher": "teacher", "no_prompt": "no prompt"}, "kl": {"kl_no_prompt": "no prompt"}}
_NOTE = (
    "Means over tasks; ±: standard deviation over seeds. Teacher: the frozen model with the whole prompt. No "
    "prompt: the same model with the query alone. KL: divergence from the teacher in nats a token. Adapters "
    "have no token."
)


def prompts(runs: Sequence[Run]) -> Section:
    """Shows means by method and number of tokens, curves over the tokens, and each task."""
    blocks: list[Block] = []
    for run in runs:
        if not run.result["rows"]:
            continue
        lines = mean_lines(run.result["rows"])
        each = lines_table(task_lines(run.result["rows"]), TASKS)
        blocks.append(TableBlock(f"{run.title}: by tokens", lines_table(lines, MEANS), _NOTE))
        plots = [plot for measure, title in _CURVES.items() for plot in _plots(run, lines, measure, title)]
        if plots:
            blocks.append(Figures(plots))
        blocks.append(TableBlock(f"{run.title}: each task", each, "Means over seeds.", folded=True))
    return Section("prompts", "Prompts learned without labels", blocks)


def _plots(run: Run, lines: Sequence[Line], measure: str, title: str) -> list[tuple[Plot, str]]:
    """Draws a measure by number of tokens, for methods with several numbers, and what stands beside."""
    wide = [line for line in lines if line["width"] and spread(line, measure) is not None]
    several = [(method, of_method) for method, of_method in by_method(wide) if len(of_method) > 1]
    if not several:
        return []
    beside = _BESIDE[measure]
    colors = method_colors([*lines, *({"method": name} for name in beside.values())])
    drawn = [
        _curve(of_method, measure, method_title(method), colors[method]) for method, of_method in several
    ]
    for key, name in beside.items():  # some rivals did not measure it
        found = (_curve(of_method, key, name, colors[name]) for _, of_method in several)
        drawn.append(max(found, key=lambda curve: len(curve.points)))
    drawn = [curve for curve in drawn if curve.points]
    caption = f"{run.title}: {title}"
    name = f"prompts-{run.slug}-{slug(measure)}"
    return [(curves(name, f"{caption}. {described_lines(drawn)}", drawn, "tokens", title), caption)]


def _curve(lines: Sequence[Row], measure: str, name: str, color: int) -> Curve:
    """A measure over the number of tokens; without points if it was not measured."""
    values = [(line["width"], spread(line, measure)) for line in lines]
    return Curve(name, [Point(width, v.mean, v.std) for width, v in values if v is not None], color)
