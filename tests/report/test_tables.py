from __future__ import annotations

import io
from statistics import stdev

import pytest
from rich.console import Console

from tokmem.errors import DataError
from tokmem.report.tables import Spread, Table, aggregate

ROWS = [
    {"method": "TokMem [b]", "rouge": Spread(62.04, 0.26, 3), "rows": 1000, "f1": 0.5},
    {"method": "a|b\nc", "rouge": Spread(50.0, None, 1), "rows": 0, "f1": None},
]
TITLES = {"method": "Method", "rouge": "ROUGE-L", "rows": "Rows", "f1": "F1"}


def test_markdown_rounds_aligns_and_escapes() -> None:
    assert Table(ROWS, TITLES, {"f1": ".3f"}).markdown() == (
        "| Method | ROUGE-L | Rows | F1 |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| TokMem [b] | 62.0 ± 0.3 | 1,000 | 0.500 |\n"
        "| a\\|b c | 50.0 | 0 | - |\n"
    )


def test_csv_keeps_every_digit_and_unfolds_spreads() -> None:
    assert Table(ROWS, TITLES).csv() == (
        'method,rouge_mean,rouge_std,rouge_n,rows,f1\nTokMem [b],62.04,0.26,3,1000,0.5\n"a|b\nc",50.0,,1,0,\n'
    )


def test_terminal_shows_the_same_and_reads_no_markup() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(Table(ROWS, TITLES, title="Atomic").rich())
    assert [
        part for part in ("Atomic", "TokMem [b]", "62.0 ± 0.3", "1,000") if part not in out.getvalue()
    ] == []


def test_columns_default_to_the_keys_of_all_rows_in_order() -> None:
    table = Table([{"b": 1}, {"a": True, "b": 2}])
    assert table.markdown().splitlines()[0] == "| b | a |"
    assert table.markdown().splitlines()[3] == "| 2 | yes |"


def test_aggregate_groups_runs_over_seeds() -> None:
    runs = [
        {"method": "x", "seed": 0, "em": 1.0, "routing": None},
        {"method": "y", "seed": 0, "em": 5},
        {"method": "x", "seed": 1, "em": 4.0, "routing": None},
    ]
    assert aggregate(runs, ["method"], ["em", "routing"]) == [
        {"method": "x", "em": Spread(2.5, pytest.approx(stdev([1, 4])), 2), "routing": None},
        {"method": "y", "em": Spread(5.0, None, 1), "routing": None},
    ]


def test_aggregate_refuses_groups_with_holes() -> None:
    runs = [{"method": "x", "em": 1.0}, {"method": "x", "em": None}]
    with pytest.raises(DataError, match=r"em in 1 of 2 runs"):
        aggregate(runs, ["method"], ["em"])
    with pytest.raises(DataError, match="backbone"):
        aggregate(runs, ["method", "backbone"], ["em"])
