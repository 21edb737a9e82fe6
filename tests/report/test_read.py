"""The report refuses what is not a result and names the wrong place, before it draws anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tokmem.errors import DataError
from tokmem.report.read import check_result, read_result
from tokmem.report.rows import spread

GOOD: dict[str, Any] = {"name": "a", "rows": [{"method": "m", "rouge_l": 1.0, "per_procedure": {}}]}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"examples": 3}, "examples is 3; wanted: numbers by name"),
        ({"examples": {"train": "many"}}, "examples.train is 'many'; wanted: a number"),
        ({"skipped": "all"}, "skipped is 'all'; wanted: an object"),
        ({"overrides": [["a"]]}, r"overrides\[0\] is \['a'\]; wanted: a text"),
        ({"chosen_rates": {"m": None}}, "chosen_rates.m is None; wanted: a number"),
        ({"wall_seconds": "long"}, "wall_seconds is 'long'; wanted: a number"),
        ({"provenance": {"versions": [1]}}, "provenance.versions is .*versions by name"),
        ({"forgetting": True}, "forgetting is True; wanted: a list of rows"),
        ({"rows": [3]}, r"rows\[0\] is 3; wanted: a row that names its method"),
        ({"rows": [{"method": "m", "round": {}}]}, r"rows\[0\].round is {}; wanted: a number"),
        ({"rows": [{"method": "m", "seeds": "two"}]}, r"rows\[0\].seeds is 'two'; wanted: a number"),
        ({"rows": [{"method": "m", " ": 1}]}, r"rows\[0\] is ' '; wanted: a name of a column"),
        ({"rows": [{"method": "m", "rouge_l": 10**400}]}, r"rows\[0\].rouge_l is 1000"),
        ({"rows": [{"method": "m", "rouge_l": [1]}]}, r"rows\[0\].rouge_l is \[1\]; wanted: a number"),
        ({"rows": [{"method": "m", "confusion": [["a", "b"]]}]}, r"confusion\[0\] is .* and a count"),
        ({"rows": [{"method": "m", "confusion": [["a", ["b"], 1]]}]}, r"confusion\[0\]\[1\] is .* a text"),
        ({"rows": [{"method": "m", "reliability": [True]}]}, r"reliability\[0\] is True; wanted: two perce"),
        ({"rows": [{"method": "m", "reliability": [[1, 2, 0]]}]}, r"\[2\] is 0; wanted: a count of at"),
        ({"rows": [{"method": "m", "per_procedure": {"p": 3}}]}, r"per_procedure.p is 3; wanted: numbers"),
        ({"memorised": [{"method": "m"}]}, r"memorised\[0\] is .* a method, its sizes"),
    ],
)
def test_parts_of_another_type_are_named(part: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert check_result(GOOD, "x") == "run"
    (tmp_path / "summary.json").write_text(json.dumps(GOOD | part))
    with pytest.raises(DataError, match=rf"summary\.json.*{message}"):
        read_result(tmp_path)


@pytest.mark.parametrize("row", [{"a": [1.0]}, {"a": 1.0, "a_std": {}}, {"a": 1.0, "seeds": [3]}])
def test_a_measure_that_is_no_number_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="a row of m has a = "):
        spread({"method": "m"} | row, "a")
    assert spread({"method": "m"}, "a") is None
