"""The page holds every row, needs no other file, and shows names as text."""

from __future__ import annotations

import builtins
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.report.summaries import NAMES, NASTY, continual, row, sampled, single
from tests.tiny import tiny_bank
from tokmem.bank.facts import Origin
from tokmem.errors import ConfigError, DataError
from tokmem.report.bank_geometry import bank_geometry
from tokmem.report.blocks import TableBlock
from tokmem.report.page import page_sections, write_page
from tokmem.report.paper import ROUGE_L, ROUTING
from tokmem.report.rows import method_colors

VOID = {"meta", "link", "wbr", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page's attributes, tables and text; its tags must be balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open or "script" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]

    def rows(self) -> list[list[str]]:
        """Every row of every table, its texts stripped."""
        return [[" ".join(cell.split()) for cell in line] for table in self.tables for line in table]


def geometry(coupled: bool = True) -> dict[str, Any]:
    bank = tiny_bank(coupled, "auto")
    bank.rename("old0", NASTY)
    return bank_geometry(bank, Origin("mini", "f"), "tiny bank")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page with everything in it."""
    out = tmp_path_factory.mktemp("report")
    backbone = {
        "backbone_fingerprint": "f00d",
        "parameters": 5_999_872,
        "training": {"tokens": 28_068_864},
        "exact_trained": {"easy": 100.0, "hard": 50.0},
    }
    results = [single(), single(), continual(), sampled(), geometry(), geometry(False), backbone]
    page = write_page(results, out)
    assert page == out / "index.html"
    return Page(page)


def test_every_row_is_there(whole: Page) -> None:
    rows = whole.rows()
    for expected in (
        ["base", "41.5", "-"],  # scores
        ["TokMem", "63.8 ± 1.5", "97.2"],
        ["somebody's", "42.0 ± 0.5", "97.2"],
        ["TokMem", "12,345"],  # cost
        [NASTY, "41.5", "63.8"],  # each procedure
        [NAMES[0], NASTY, "3"],  # confused
        ["by 10", "60.5", "56.5", "-4.0"],  # forgetting
        ["by 50", "-", "56.5", "-"],
        ["TokMem", "31.0", "40.0"],  # sample efficiency
        ["hard", "50.0"],
    ):
        assert expected in rows, expected
    assert {"single", "single (2)", "continual"} <= set(re.findall(r"<h3>(.*?)</h3>", whole.source))
    for fact in (
        "c0ffee, with changes",
        "tokmem/query: 0.02",
        "torch 2.0",
        "name: single # <b>",
        "28,068,864 tokens",
    ):
        assert fact in whole.text


def test_the_papers_table_has_ours_and_theirs_under_their_own_headings(whole: Page) -> None:
    table = next(t for t in whole.tables if any("Table 1" not in c and c.strip() == "1,000" for c in t[0]))
    rows = [[" ".join(cell.split()) for cell in line] for line in table]
    assert rows[0] == ["method", "2", "10", "50", "200", "500", "1,000", "average"]
    assert ["TokMem", "-", "60.0 ± 0.5", "59.0 ± 0.5", "58.0 ± 0.5", "-", "-", "59.0"] in rows
    assert ["TokMem", "63.8 ± 1.5", *["-"] * 6] in rows
    theirs = rows.index(["The paper, another backbone: Qwen2.5-0.5B"])
    assert rows[theirs + 5] == ["TokMem", "-", "52.8", "51.3", "49.3", "50.2", "50.0", "50.7"]
    assert all(line[0] != "The paper, another backbone: Qwen2.5-0.5B" for line in rows[:theirs])


def test_the_papers_figures_have_the_papers_averages() -> None:
    """Table 1 prints a mean of each row."""
    averages = (37.9, 40.7, 45.2, 48.7, 50.7, 51.1, 18.7, 47.3, 60.4, 62.0, 62.9, 62.6, 67.0)
    for line, average in zip(ROUGE_L, averages, strict=True):
        assert sum(line.figures) / 5 == pytest.approx(average, abs=0.051), line
    assert all(list(line.figures) == sorted(line.figures, reverse=True) for line in ROUTING)


def test_the_page_needs_nothing_beside_itself(whole: Page) -> None:
    for tag, name, value in whole.attributes:
        if name in ("src", "srcset", "data", "poster") or (tag != "a" and name in ("href", "xlink:href")):
            assert value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", whole.source)
    outside = [v for t, n, v in whole.attributes if t == "a" and n == "href" and v.startswith("http")]
    assert outside == ["https://arxiv.org/abs/2510.00444v2"], "a link to follow, not a resource"


def test_names_are_text_and_never_markup(whole: Page) -> None:
    assert whole.source.count("<script>") == 1, "the page's own"
    assert "alert(&#34;" in whole.source
    assert NASTY in whole.text


def test_ids_are_unique_and_every_reference_is_met(whole: Page) -> None:
    ids = whole.values("id")
    assert len(ids) == len(set(ids))
    references = [v[1:] for v in whole.values("href") if v.startswith("#")]
    references += re.findall(r"url\(#(.*?)\)", whole.source) + whole.values("aria-labelledby")
    assert set(references) <= set(ids)


def test_plots_have_words_files_and_the_colours_of_the_page(whole: Page, tmp_path: Path) -> None:
    alts = [
        value
        for tag, name, value in whole.attributes
        if tag == "div" and name == "aria-label" and ": " in value
    ]
    assert any("TokMem: 60.0 at 10, 58.0 at 200" in alt for alt in alts), "curves are told in words"
    page = write_page([continual()], tmp_path)
    links = [v for t, n, v in Page(page).attributes if t == "a" and n == "href" and v.endswith(".png")]
    assert {tmp_path / link for link in links} == set((tmp_path / "plots").iterdir())
    assert all((tmp_path / link).read_bytes().startswith(b"\x89PNG") for link in links)
    drawings = "".join(re.findall(r"<svg.*?</svg>", whole.source, re.DOTALL))
    assert "currentColor" in drawings
    assert "var(--series-1)" in drawings
    assert not re.search(r"(?:fill|stroke): #", drawings), (
        "no colour that one of the two themes could swallow"
    )


def test_only_what_is_there_is_shown() -> None:
    bare = {"name": "bare", "rows": [{"method": "tokmem", "rouge_l": 5}]}
    assert [s.id for s in page_sections([bare])] == ["overview", "scores", "origin"]
    assert [s.id for s in page_sections([geometry()])] == ["geometry"]


def test_runs_over_sizes_of_the_training_set_show_the_largest_and_the_curve() -> None:
    rows = [row("tokmem+renorm=stage", 30 + n / 10, train_size=n, stage=2) for n in (100, 10)]
    shown = {s.id: s for s in page_sections([{"name": "sizes", "rows": rows, "procedures": list(NAMES)}])}
    (scores,) = (block for block in shown["scores"].blocks if isinstance(block, TableBlock))
    assert scores.table.markdown().splitlines()[2:] == ["| TokMem, renorm=stage | 40.0 | 97.2 |"]
    (curve,) = (block for block in shown["samples"].blocks if isinstance(block, TableBlock))
    assert curve.table.markdown().splitlines()[2:] == ["| TokMem, renorm=stage | 31.0 | 40.0 |"]
    alone = {"name": "size", "rows": rows[:1], "procedures": list(NAMES)}
    assert "samples" not in {s.id for s in page_sections([alone])}, "one size makes no curve"


def test_scores_when_learned_and_under_other_instructions() -> None:
    now = row("tokmem", 50.0, stage=20, rouge_l_when_learned=52.5)
    probe = {"method": "tokmem", "prompt": "query", "stage": 20, "instruction": "truncated", "rouge_l": 44.0}
    run = {"name": "staged", "rows": [now], "probes": [probe], "forgetting": []}
    shown = {s.id: s for s in page_sections([run])}
    assert shown["forgetting"].blocks[0].table.markdown().splitlines()[2] == "| TokMem | 52.5 | 50.0 | -2.5 |"
    assert "| TokMem | 50.0 | 44.0 | 97.2 | - |" in shown["probes"].blocks[0].table.markdown()


def test_variants_of_a_method_have_colors_of_their_own() -> None:
    methods = ("tokmem+renorm=stage", "tokmem", "base", "unheard_of")
    colors = method_colors([{"method": method} for method in methods])
    assert (colors["base"], colors["tokmem"]) == (0, 1)
    assert len(set(colors.values())) == 4


def test_an_earlier_report_is_replaced_and_another_page_is_not(tmp_path: Path) -> None:
    write_page([single("older")], tmp_path)
    assert "older" not in write_page([single("newer")], tmp_path).read_text("utf-8")
    (tmp_path / "index.html").write_text("<p>mine")
    with pytest.raises(ConfigError, match="is not a report"):
        write_page([single()], tmp_path)
    assert (tmp_path / "index.html").read_text() == "<p>mine"


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def absent(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return there(name, *args)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"extra `plot`.*tokmem\[plot\]"):
        write_page([single()], tmp_path)


@pytest.mark.parametrize(
    ("foreign", "says"),
    [
        ([], "holds a list"),
        ({"rows": []}, "'name'"),
        ({"name": "x", "rows": [{"tokens_per_second": 1.0}]}, "wanted: a row that names its method"),
        ({"name": "x", "rows": [{"method": "tokmem", "rouge_l": "high"}]}, "rouge_l is 'high'"),
        ({"name": "x", "rows": [], "forgetting": [3]}, "forgetting.0. is 3"),
        ({"kind": "geometry", "name": "x"}, "'procedures'"),
    ],
)
def test_what_is_no_result_is_refused(foreign: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        write_page([single(), foreign], tmp_path / "out")
    assert not (tmp_path / "out").exists()
