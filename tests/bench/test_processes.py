from __future__ import annotations

import pytest

from bench.processes import Measured, rows, run
from bench.train_step import parse


def test_ratios_are_of_one_round_each() -> None:
    found = [
        {"one": Measured(2.0, 1.0), "two": Measured(1.0, 1.0)},
        {"one": Measured(9.0, 1.0), "two": Measured(3.0, 1.5)},
        {"one": Measured(3.0, 1.0), "two": Measured(2.0, 1.2)},
    ]
    base, row = rows(found, tokens=60)
    assert (base["speedup"], base["slowest"], base["fastest"]) == (1, 1, 1)
    assert row == {
        "name": "two",
        "seconds": 2.0,
        "tokens_per_second": 30.0,
        "speedup": 2.0,
        "slowest": 1.5,
        "fastest": 3.0,
        "loss": 1.2,
    }


@pytest.mark.slow
def test_all_contenders_train_the_same_bank(small: list[str]) -> None:
    settings, _ = parse(small)
    result = run(settings, rounds=1)
    assert [row["tokens_per_second"] > 0 for row in result["rows"]] == [True, True, True]
    assert all(row["loss"] == pytest.approx(result["rows"][0]["loss"], rel=1e-4) for row in result["rows"])
