"""Small made-up results in the shapes that runs write."""

from __future__ import annotations

from typing import Any

NASTY = '<script>alert("x")</script> & $x_1$'
NAMES = ("capital_of_country", NASTY)


def row(method: str, rouge_l: float, **more: Any) -> dict[str, Any]:
    return {
        "method": method,
        "prompt": "query",
        "seeds": 1,
        "rouge_l": rouge_l,
        "routing_accuracy": None if method == "base" else 97.25,
        "trainable_parameters": 0 if method == "base" else 12_345,
        "per_procedure": {name: {"rouge_l": rouge_l, "exact_match": 1.0} for name in NAMES},
        "most_confused": [] if method == "base" else [[NAMES[0], NAMES[1], 3]],
        **more,
    }


def single(name: str = "single") -> dict[str, Any]:
    """One stage, two methods, as `tokmem run` writes it."""
    return {
        "name": name,
        "rows": [row("base", 41.5), row("tokmem", 63.75, seeds=3, rouge_l_std=1.5)],
        "chosen_rates": {"tokmem/query": 0.02},
        "procedures": list(NAMES),
        "skipped": {},
        "examples": {"train": 10, "validation": 2, "test": 4},
        "backbone": "mini",
        "provenance": {"seed": 7, "commit": "c0ffee", "dirty": True, "versions": {"torch": "2.0"}},
        "experiment": "name: single # <b>\n",
        "overrides": [],
    }


def continual() -> dict[str, Any]:
    """Three stages with forgetting and a confusion matrix."""
    methods = {"tokmem": 1.0, "replay": 4.0, "somebody's": 9.0}
    rows = [
        row(method, 60 - drop * place, stage=stage, rouge_l_std=0.5, seeds=3)
        for method, drop in methods.items()
        for place, stage in enumerate((10, 50, 200))
    ]
    rows[2]["confusion"] = [[NAMES[0], NAMES[0], 9], [NAMES[0], NAMES[1], 1], [NAMES[1], NAMES[1], 10]]
    forgetting = [
        {"method": "tokmem", "prompt": "query", "learned_at": a, "evaluated_at": b, "rouge_l": 61.5 - b / 10}
        for a, b in ((10, 10), (10, 50), (50, 50))
    ]
    return {**single("continual"), "rows": rows, "forgetting": forgetting}


def sampled() -> dict[str, Any]:
    """Two sizes of the training set."""
    return {**single("sampled"), "rows": [row("tokmem", 30 + n / 10, train_size=n) for n in (10, 100)]}
