"""Writes results as one self-contained HTML page, and its plots as PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tokmem import __version__
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_bytes, atomic_write_text
from tokmem.report.blocks import Section
from tokmem.report.call_lines import is_compositional
from tokmem.report.canvas import require_matplotlib
from tokmem.report.distilled import is_distilled
from tokmem.report.paper import URL
from tokmem.report.read import check_result
from tokmem.report.rows import Run, slug
from tokmem.report.sections import capacity
from tokmem.report.sections.calls import (
    call_cost,
    call_overview,
    call_scores,
    calls_beside_the_paper,
    calls_seen,
)
from tokmem.report.sections.distilled import prompts
from tokmem.report.sections.geometry import geometry
from tokmem.report.sections.growth import forgetting, growth, sample_efficiency
from tokmem.report.sections.origin import backbones, origin
from tokmem.report.sections.paper import beside_the_paper
from tokmem.report.sections.rounds import rounds
from tokmem.report.sections.routing import confusions, probes
from tokmem.report.sections.scores import cost, overview, per_procedure, scores
from tokmem.report.sections.states import on_states

PAGE, PLOTS = "index.html", "plots"
_MARK = '<meta name="generator" content="tokmem report">'


def write_page(summaries: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Writes `index.html` and `plots/*.png` into a folder, over an earlier page and plots of the same names.

    Args:
        summaries: results of the tracks, records of `bank_geometry`, and measurements of the bundled
            backbone, in any mixture.
        out: the folder; it is made if it is missing.

    Returns:
        The page.

    Raises:
        ConfigError: matplotlib is not installed, or the folder holds a page that is not a report.
        DataError: a summary is not a result.
    """
    require_matplotlib()
    page = out / PAGE
    if page.exists() and _MARK not in page.read_text("utf-8", errors="replace"):
        raise ConfigError(
            f"{page} exists and is not a report", "a folder without index.html", "give another one with --out"
        )
    sections = page_sections(summaries)
    plots = [plot for section in sections for plot in section.plots]
    for plot in plots:
        atomic_write_bytes(out / PLOTS / f"{plot.name}.png", plot.png)
    names = list(dict.fromkeys(str(summary["name"]) for summary in summaries if "name" in summary))
    atomic_write_text(page, render(sections, names))
    return page


def page_sections(summaries: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Returns the sections that have something to show.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: there is no summary, or one is not a result.
    """
    kinds = [check_result(summary, f"summary {number}") for number, summary in enumerate(summaries, 1)]
    by_kind = {
        kind: [summary for summary, of in zip(summaries, kinds, strict=True) if of == kind] for kind in kinds
    }
    every = _runs(by_kind.get("run", []))
    chains = [run for run in every if is_compositional(run.result)]
    of_capacity = [run for run in every if run.result.get("track") == capacity.TRACK]
    distilled = [run for run in every if is_distilled(run.result)]
    runs = [run for run in every if run not in (*chains, *of_capacity, *distilled)]
    sections = (
        overview(runs).joined(call_overview(chains)),
        scores(runs),
        growth(runs),
        forgetting(runs),
        sample_efficiency(runs),
        beside_the_paper(runs),
        confusions(runs),
        probes(runs),
        per_procedure(runs),
        call_scores(chains),
        rounds(chains),
        calls_seen(chains),
        calls_beside_the_paper(chains),
        cost(runs).joined(call_cost(chains)),
        capacity.memorised(of_capacity),
        capacity.reasoned(of_capacity),
        prompts(distilled),
        on_states(by_kind.get("states", [])),
        geometry(by_kind.get("geometry", [])),
        backbones(by_kind.get("backbone", [])),
        origin(every),
    )
    return [section for section in sections if section.blocks]


def _runs(results: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Gives each run its own title and slug, even if two have the same name."""
    titles, slugs, runs = Counter[str](), Counter[str](), []
    for result in results:
        name = result["name"]
        titles[name] += 1
        title = name if titles[name] == 1 else f"{name} ({titles[name]})"
        part = slug(title)
        slugs[part] += 1
        runs.append(Run(title, part if slugs[part] == 1 else f"{part}-{slugs[part]}-again", result))
    return runs


def render(sections: Sequence[Section], names: Sequence[str]) -> str:
    """Renders the page as text.

    Args:
        sections: the sections, in order.
        names: names of the results, for the title.
    """
    environment = Environment(
        loader=PackageLoader("tokmem.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        sections=sections,
        names=names,
        plots=PLOTS,
        paper=URL,
        version=__version__,
        today=date.today().isoformat(),
    )
