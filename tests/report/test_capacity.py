"""The capacity track on the page: tables in the paper's form, curves, and written texts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.report.summaries import NASTY, single
from tests.report.test_page import Page
from tokmem.errors import DataError
from tokmem.report.page import page_sections, write_page

COMMON = {"track": "capacity", "backbone": "mini", "examples": {"test": 4}, "provenance": {"seed": 0}}


def memorised(dimensions: tuple[int, ...] = (16,)) -> dict[str, Any]:
    """Two numbers of embeddings and of tokens, five runs; the most embeddings in part too; and a rival."""
    shapes = [(k, n, 256) for n in (16, 32) for k in (1, 5)] + [(5, 32, d) for d in dimensions]
    wide = [(5, n, 1536) for n in (16, 32)]  # keys and values of all layers
    rows = [
        {
            "method": method, "embeddings": k, "sequences": n // 16, "tokens": n, "dimension": d, "seeds": 5,
            "perplexity": 2.5 + n / k, "perplexity_std": 0.25,
            "steps_to_90": 100 + n, "steps_to_90_std": 20.0,
            "untrained_perplexity": 99.5, "token_accuracy": 75.0, "recovered_sequences": 50.0,
            "recovered_tokens": float(n * d / 512), "recovered_tokens_std": 1.0,
            "bits_per_embedding": 12.5, "bits_per_embedding_std": 2.0,
            "norm_start": 1.0, "norm": 4.5, "angle": 80.5, "cosine": 0.125,
        }
        for method in ("tokmem", "prefix", "peft_prefix")
        for k, n, d in (wide if method == "peft_prefix" else shapes)
    ]  # fmt: skip
    written = [{"marker": "zuva", "passage": NASTY, "written": "Four score"}]
    keys = ("method", "embeddings", "sequences", "tokens", "dimension")
    parts = [{key: row[key] for key in keys} | {"written": written} for row in rows[:1]]
    return {"name": "held", "task": "memorise", "rows": rows, "memorised": parts, **COMMON}


def reasoned() -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "method": "base",
            "embeddings": 0,
            "train_size": 0,
            "seeds": 1,
            "compliance": 7.5,
            "exact_match": 1.5,
        }
    ]
    rows += [
        {"method": method, "embeddings": 1, "train_size": n, "seeds": 3, "settings": {"width": 1}}
        | {"compliance": 90.0, "compliance_std": 1.5, "exact_match": n / 100, "exact_match_std": 0.5}
        for method in ("tokmem", "prefix", "peft_prefix")
        for n in (200, 1000)
    ]
    return {"name": "solved", "task": "reason", "rows": rows, **COMMON}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("report")
    return Page(write_page([memorised(), reasoned(), single()], out))


def test_tables_in_the_form_of_the_paper(page: Page) -> None:
    rows = page.rows()
    assert ["method", "16 tokens", "32 tokens", "1,024 tokens", "2,048 tokens", "4,096 tokens"] in rows
    assert ["TokMem-5", "116 ± 20 / 5.70 ± 0.25", "132 ± 20 / 8.90 ± 0.25", "-", "-", "-"] in rows
    assert ["TokMem-5", "-", "-", "200 / 1.03", "500 / 1.15", "1400 / 1.91"] in rows
    assert ["PEFT prefix tuning-5", "116 ± 20 / 5.70 ± 0.25", "132 ± 20 / 8.90 ± 0.25", "-", "-", "-"] in rows
    assert ["base", "7.5 / 1.5", "-", "-", "-", "-"] in rows
    assert ["TokMem-1", "-", "90.0 ± 1.5 / 2.0 ± 0.5", "90.0 ± 1.5 / 10.0 ± 0.5", "-", "-"] in rows
    assert ["prefix-1", "-", "-", "-", "45.9 / 33.1", "97.2 / 64.1"] in rows
    assert sum(row[0] == "PEFT prefix tuning-1" for row in rows) == 1
    assert page.text.count("another backbone") >= 8


def test_what_was_held_and_how_it_moved(page: Page) -> None:
    rows = page.rows()
    held = ["TokMem-1", "256", "99.5", "18.50 ± 0.25", "75.0", "50.0", "8.0 ± 1.0", "12.5 ± 2.0", "116 ± 20"]
    assert held in rows
    assert ["TokMem-5", "16", "1.00", "4.50", "80.5", "0.125"] in rows
    assert repr(NASTY) in page.text
    assert "zuva" in page.text


def test_a_page_of_other_runs_has_no_such_section() -> None:
    assert {"memorised", "reasoned"}.isdisjoint(s.id for s in page_sections([single()]))


def test_plots_over_embeddings_coordinates_and_problems() -> None:
    sections = {section.id: section for section in page_sections([memorised(), reasoned()])}
    names = {plot.name for plot in sections["memorised"].plots}
    assert len(names) == 2 * 2 + 2
    (by_coordinates,) = [
        p for p in sections["memorised"].plots if "recovered-tokens" in p.name and "dimension" in p.name
    ]
    assert "TokMem: 1.0 at 16, 16.0 at 256" in by_coordinates.alt
    assert {plot.name for plot in sections["reasoned"].plots} == {
        "reasoned-solved-compliance-1",
        "reasoned-solved-exact-match-1",
    }
    assert set(sections) == {"memorised", "reasoned", "origin"}, "none of it is called a score"
    without = page_sections([memorised(dimensions=())])
    assert len(without[0].plots) == 4


def test_rows_without_their_shape_are_refused() -> None:
    result = memorised()
    del result["rows"][1]["dimension"]
    with pytest.raises(DataError, match=r"rows\[1\] is .*and dimension"):
        page_sections([result])
    assert page_sections([{**reasoned(), "rows": []}])[0].id == "origin"
