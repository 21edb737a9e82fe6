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
        ({"examples": 3}, "holds 'examples', a int"),
        ({"examples": {"train": "many"}}, "'examples' holds 'many'"),
        ({"skipped": "all"}, "holds 'skipped', a str"),
        ({"overrides": [["a"]]}, r"'overrides' holds \['a'\]"),
        ({"chosen_rates": {"m": None}}, "'chosen_rates' holds None"),
        ({"wall_seconds": "long"}, "holds 'wall_seconds', a str"),
        ({"provenance": {"versions": [1]}}, "no mapping of versions"),
        ({"forgetting": True}, "holds 'forgetting', a bool"),
        ({"rows": [3]}, r"rows\[0\] names no method"),
        ({"rows": [{"method": "m", "round": {}}]}, r"rows\[0\] has round = {}"),
        ({"rows": [{"method": "m", "seeds": "two"}]}, r"rows\[0\] has seeds = 'two'"),
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
