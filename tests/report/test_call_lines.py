"""Compositional results: lines by number of calls, the page, and the terminal's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.summaries import call_rows, chained, in_rounds, seen, single
from tests.report.test_page import Page
from tokmem.report import plots
from tokmem.report.blocks import TableBlock
from tokmem.report.call_lines import call_lines, figure_columns, final_calls, over_test_sets, variant_title
from tokmem.report.canvas import Plot
from tokmem.report.page import page_sections, write_page
from tokmem.report.paper import CALLS_SEEN, TOOL_CALLS
from tokmem.report.results import results_table
from tokmem.report.tables import Spread


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots with their words and without their drawings, which take long."""
    monkeypatch.setattr(plots, "draw", lambda name, alt, paint, **_: Plot(name, alt, "<svg></svg>", b""))


def table(markdown: str) -> list[list[str]]:
    lines = [line for number, line in enumerate(markdown.splitlines()) if number != 1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def tables(sections: list, part: str) -> dict[str, list[list[str]]]:
    """The tables of a section by caption."""
    (section,) = (section for section in sections if section.id == part)
    return {b.caption: table(b.table.markdown()) for b in section.blocks if isinstance(b, TableBlock)}


def test_a_line_spreads_the_figures_over_the_numbers_of_calls() -> None:
    (line,) = call_lines(call_rows("tokmem", 90.0, 60.0, counts=(1, 2, 4)))
    assert line["call_f1 2"] == Spread(60.0, 1.25, 3)
    assert line["call_f1 average"] == (60.0 + 54.0) / 2, "of two calls or more"
    assert list(figure_columns([line], ["call_f1"])) == [f"call_f1 {n}" for n in (1, 2, 4, "average")]
    (alone,) = call_lines(call_rows("tokmem", 90.0, 60.0, counts=()))
    assert alone["call_f1 average"] == Spread(57.0, 1.25, 3), "of all, where no number is told apart"


def test_only_the_last_round_and_most_calls_in_training_are_final() -> None:
    rows = [
        *call_rows("tokmem", 90.0, 60.0, round=1),
        *call_rows("tokmem", 80.0, 50.0, round=2),
        *call_rows("lora", 70.0, 40.0, round=1),
    ]
    assert {(row["method"], row["round"]) for row in final_calls(rows)} == {("tokmem", 2), ("lora", 1)}
    final = final_calls(seen()["rows"])
    assert {row["train_max_calls"] for row in final} == {4}
    assert final_calls([]) == []


def test_several_test_sets_are_averaged_and_lose_their_spread() -> None:
    rows = [
        *call_rows("tokmem", 90.0, 60.0, tools="1-10"),
        *call_rows("tokmem", 80.0, 40.0, tools="11-20"),
        *call_rows("lora", 70.0, 30.0, tools="1-10"),
    ]
    both, alone = over_test_sets(call_lines(rows))
    assert (both["call_f1 2"], both["call_exact"], both["tools"]) == (50.0, (37.0 + 17.0) / 2, "all")
    assert both["trainable_parameters"] == 12_800
    assert "call_exact_std" not in both
    assert alone["call_f1 2"] == Spread(30.0, 1.25, 3)


def test_what_a_query_costs_is_averaged_over_test_sets_too() -> None:
    cheap, dear = (
        {"prompt_tokens_per_query": t, "queries_per_second": q} for t, q in ((80.0, 6.0), (120.0, 2.0))
    )
    rows = [
        *({**row, **cheap} for row in call_rows("rag", 90.0, 60.0, counts=(2,), tools="1-10")),
        *({**row, **dear} for row in call_rows("rag", 80.0, 40.0, counts=(2, 4), tools="11-20")),
    ]
    (both,) = over_test_sets(call_lines(rows))
    assert both["prompt_tokens_per_query"] == 100.0
    assert both["queries_per_second"] == pytest.approx(3.0), "a sixth and a half of a second"
    assert "queries_per_second_std" not in both
    assert both["call_f1 4"] == call_lines(rows)[1]["call_f1 4"].mean, "only one test set has such queries"


@pytest.mark.parametrize(
    ("method", "adaptation", "title"),
    [
        ("tokmem", "auxiliary", "TokMem"),
        ("tokmem", None, "TokMem"),
        ("tokmem", "none", "TokMem, no adaptation"),
        ("tokmem+renorm=off", "always", "TokMem, renorm=off, LoRA always trained"),
        ("lora", "none", "fine-tuning (LoRA)"),
        ("lora", "auxiliary", "fine-tuning (LoRA), adapted"),
    ],
)
def test_a_variant_is_named_for_what_is_unusual(method: str, adaptation: str | None, title: str) -> None:
    assert variant_title({"method": method, "adaptation": adaptation}) == title


def test_the_papers_figures_have_the_papers_averages() -> None:
    """All but one that the paper prints so: call F1 of TokMem on Llama-3.2-3B."""
    off = []
    for row in TOOL_CALLS:
        for name, (*figures, average) in (("tool", row.tool_f1), ("call", row.call_f1)):
            if sum(figures) / 3 != pytest.approx(average, abs=0.11):
                off.append((row.backbone, row.method, name))
    assert off == [("Llama-3.2-3B", "TokMem", "call")]
    assert all(list(line.figures) == sorted(line.figures) for line in CALLS_SEEN)
    llama = {row.method: row.call_f1[-1] for row in TOOL_CALLS if row.backbone == "Llama-3.2-3B"}
    assert llama == {line.method: line.figures[-1] for line in CALLS_SEEN}, "trained on four calls is Table 3"


@pytest.mark.usefixtures("_undrawn")
def test_the_page_has_the_papers_form_with_the_papers_figures_below() -> None:
    sections = page_sections([chained()])
    assert [s.id for s in sections] == ["overview", "calls", "calls-paper", "cost", "origin"]
    shown = tables(sections, "calls")["tools100: tools and calls by number of calls"]
    tool_f1, call_f1 = ["97.0 ± 1.2", "95.5 ± 1.2", "94.0 ± 1.2"], ["68.5 ± 1.2", "65.5 ± 1.2", "62.5 ± 1.2"]
    assert ["TokMem", "12,800", *tool_f1, "95.5", *call_f1, "65.5"] in shown
    assert "TokMem, no adaptation" in [line[0] for line in shown]
    (paper,) = tables(sections, "calls-paper").values()
    ours = paper.index(["TokMem", "12,800", *tool_f1, "95.5", *call_f1, "65.5"])
    theirs = paper.index(["TokMem", "0.10M", "98.4", "98.0", "98.9", "98.4", "84.3", "84.3", "87.8", "85.5"])
    assert ours < theirs
    (cost,) = tables(sections, "cost").values()
    assert ["fine-tuning (LoRA)", "98,304", "40.0 ± 1.2", "31.5", "-", "-", "20.2"] in cost
    assert ["TokMem", "12,800", "40.0 ± 1.2", "31.5", "49,152", "64.5", "20.2"] in cost


@pytest.mark.usefixtures("_undrawn")
def test_rounds_show_what_is_forgotten_and_norms() -> None:
    sections = page_sections([in_rounds(count=3)])
    assert "rounds" in [s.id for s in sections]
    shown = tables(sections, "rounds")
    summary = shown["rounds5: after the last round, and forgotten on the way"]
    # 95, 94, 93 when learned, 16 lost a round: (32 + 16) / 2
    assert ["fine-tuning (LoRA)", "78.0", "+24.0", "53.0", "+24.0"] in summary
    kept = shown["rounds5: tool F1 on the tools of each round, after it and later"]
    assert ["round 1", "95.0 ± 1.0", "79.0 ± 1.0", "63.0 ± 1.0", "-32.0"] in kept
    assert ["round 3", "-", "-", "93.0 ± 1.0", "-"] in kept
    norms = shown["rounds5: norms of new rows by round"]
    assert ["TokMem, renorm=off", "1.75", "2.00", "1.75", "2.25", "1.88"] in norms
    (calls, *_) = tables(sections, "calls").values()
    assert ["TokMem", "12,800", "93.5", "92.0", "90.5", "92.0", "68.5", "65.5", "62.5", "65.5"] in calls
    section = next(s for s in sections if s.id == "rounds")
    assert len(section.plots) == 5
    assert any("fine-tuning (LoRA): 95.0 at 1, 63.0 at 3" in plot.alt for plot in section.plots)


@pytest.mark.usefixtures("_undrawn")
def test_calls_seen_in_training_stand_beside_table_5() -> None:
    shown = tables(page_sections([seen()]), "calls-seen")
    call_f1 = shown["calls: call F1, average, by the calls of a training query"]
    assert call_f1[1:] == [
        ["fine-tuning (LoRA)", "22.0", "47.0", "55.0", "58.0"],
        ["TokMem", "45.0", "59.0", "63.0", "65.0"],
        ["fine-tuning", "23.4", "76.6", "84.2", "85.8"],
        ["TokMem", "54.5", "82.0", "85.2", "86.3"],
    ]
    assert "calls-seen" not in [s.id for s in page_sections([chained()])]


@pytest.mark.usefixtures("_undrawn")
def test_a_figure_that_was_not_measured_has_no_column_and_no_plot() -> None:
    def only_calls(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if not key.startswith("tool_")} for row in part]

    for run in (in_rounds(count=2), seen()):
        parts = {key: only_calls(run[key]) for key in ("rows", "forgetting") if key in run}
        sections = [s for s in page_sections([{**run, **parts}]) if s.id in ("calls", "rounds", "calls-seen")]
        assert len(sections) == 2
        titles = [title for s in sections for rows in tables(sections, s.id).values() for title in rows[0]]
        assert any("call F1" in title for title in titles)
        assert not any("tool F1" in title for title in titles)
        assert not any("tool F1" in plot.alt for s in sections for plot in s.plots)


def test_one_page_holds_both_tracks(tmp_path: Path) -> None:
    """Ids stay unique, names stay text, and each run is in its own sections."""
    page = Page(write_page([single(), chained("<b>"), in_rounds("<b>", count=2)], tmp_path))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {"scores", "calls", "rounds", "cost", "origin"} <= set(ids)
    assert "<b>" not in page.source.replace("<b></b>", "")
    assert "<b>: every measure" in page.text
    scores = page.source[page.source.index('id="scores"') : page.source.index('id="calls"')]
    assert "&lt;b&gt;" not in scores


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"method": "tokmem", "calls": "all", "call_f1": 50}],
        [{"method": "tokmem", "calls": 2, "tools": "1-5"}],
    ],
)
def test_only_what_is_there_is_shown(rows: list[dict[str, Any]]) -> None:
    bare = {"name": "bare", "track": "compositional", "rows": rows, "forgetting": [], "norms": []}
    parts = [s.id for s in page_sections([bare])]
    assert parts[-1] == "origin"
    assert "rounds" not in parts
    assert results_table(bare).markdown()


def test_the_terminals_table_has_a_line_a_method() -> None:
    lines = table(results_table(in_rounds(count=2)).markdown())
    assert len(lines) == 1 + 6
    assert lines[0][:5] == [
        "method",
        "tool F1, 2 calls",
        "tool F1, 3 calls",
        "tool F1, 4 calls",
        "tool F1, average",
    ]
    assert not any("adaptation" in title for title in lines[0]), "nothing is known of what it cost"
    first, *others = table(results_table(chained()).markdown())
    spent = {line[0]: tuple(line[-5:]) for line in others}
    assert first[-5:] == [
        *("prompt tokens /query", "train s", "adaptation LoRA params", "adaptation s", "queries /s"),
    ]
    assert spent["TokMem"] == ("40.0 ± 1.2", "31.5", "49,152", "64.5", "20.2")
    assert spent["TokMem, no adaptation"] == ("40.0 ± 1.2", "31.5", "-", "-", "20.2")
    by_training = table(results_table(seen()).markdown())
    assert [line[:2] for line in by_training[1:3]] == [["fine-tuning (LoRA)", "1"], ["TokMem", "1"]]
    assert len(by_training) == 1 + 8
