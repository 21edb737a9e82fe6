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
    rows[2]["reliability"] = [[55.0, 50.0, 4], [97.5, 93.75, 16]]
    forgetting = [
        {"method": "tokmem", "prompt": "query", "learned_at": a, "evaluated_at": b, "rouge_l": 61.5 - b / 10}
        for a, b in ((10, 10), (10, 50), (50, 50))
    ]
    return {**single("continual"), "rows": rows, "forgetting": forgetting}


def sampled() -> dict[str, Any]:
    """Two sizes of the training set."""
    return {**single("sampled"), "rows": [row("tokmem", 30 + n / 10, train_size=n) for n in (10, 100)]}


def call_rows(
    method: str, tool_f1: float, call_f1: float, *, counts: tuple[int, ...] = (2, 3, 4), **more: Any
) -> list[dict[str, Any]]:
    """Rows of one method as the compositional track writes them: harder with every call."""
    common = {"method": method, "adaptation": "none", "round": 1, "tools": "51-100", "seeds": 3}
    costs = {"trainable_parameters": 12_800, "train_seconds": 31.5, "queries_per_second": 20.25}
    rows = []
    for calls in (*counts, "all"):
        harder = 3.0 * (calls - 2) if isinstance(calls, int) else 3.0
        figures = {
            "tool_f1": tool_f1 - harder / 2,
            "tool_precision": tool_f1,
            "tool_recall": tool_f1 - harder,
            "call_f1": call_f1 - harder,
            "call_exact": max(0.0, call_f1 - 20 - harder),
            "call_exact_ordered": max(0.0, call_f1 - 22 - harder),
            "arguments_f1": min(100.0, call_f1 + 1),
            "invalid_json": 1.5,
            "invalid_schema": 0.5,
            "call_f1_forced": min(100.0, call_f1 + 5),
            "prompt_tokens_per_query": 40.0,
        }
        deviations = {f"{name}_std": 1.25 for name in figures}
        rows.append({**common, "calls": calls, **figures, **deviations, **costs, **more})
    return rows


def chained(name: str = "tools100") -> dict[str, Any]:
    """One round of tools after adaptation on others, every method."""
    adapted = {"adaptation": "auxiliary", "adaptation_seconds": 64.5, "adaptation_lora_parameters": 49_152}
    rows = [
        *call_rows("icl", 20.0, 6.0, trainable_parameters=0, train_seconds=None, call_f1_forced=None),
        *call_rows("rag", 42.0, 12.0, trainable_parameters=0, train_seconds=None, call_f1_forced=None),
        *call_rows("lora", 88.0, 61.0, trainable_parameters=98_304, call_f1_forced=None),
        *call_rows("tokmem", 86.0, 52.0),
        *call_rows("tokmem", 97.0, 68.5, **adapted),
        *call_rows("tokmem_dc", 96.0, 66.0, trainable_parameters=25_600, **adapted),
    ]
    return {**single(name), "track": "compositional", "rows": rows}


def in_rounds(name: str = "rounds5", count: int = 5) -> dict[str, Any]:
    """Five rounds of ten tools: who forgets how much, and how norms grow."""
    falls = {
        ("tokmem", "auxiliary"): 0.5,
        ("tokmem+renorm=off", "auxiliary"): 4.0,
        ("tokmem+renorm=stage+negatives=4", "auxiliary"): 0.25,
        ("tokmem", "always"): 9.0,
        ("lora", "none"): 16.0,
        ("replay", "none"): 6.0,
    }
    rows, kept, norms = [], [], []
    for (method, adaptation), fall in falls.items():
        who = {"method": method, "adaptation": adaptation, "seeds": 3}
        for after in range(1, count + 1):
            for learned in range(1, after + 1):
                score = 96.0 - learned - fall * (after - learned)
                figures = {"tool_f1": score, "tool_f1_std": 1.0, "call_f1": score - 25, "call_f1_std": 2.0}
                kept.append({**who, "learned": learned, "after": after, **figures})
                tools = f"{50 + 10 * learned - 9}-{50 + 10 * learned}"
                rows += call_rows(method, score, score - 25, round=after, tools=tools, adaptation=adaptation)
            if method.startswith("tokmem"):
                grown = 0.25 * after if "off" in method else 0.0
                old = None if after == 1 else 1.5 + grown / 2
                norms.append({**who, "round": after, "mean_norm": 1.5 + grown, "old_mean_norm": old})
    return {
        **single(name), "track": "compositional", "rows": rows, "forgetting": kept, "norms": norms,
    }  # fmt: skip


def seen(name: str = "calls") -> dict[str, Any]:
    """Trained on at most one to four calls."""
    gains = {("lora", "none"): (25.0, 50.0, 58.0, 61.0), ("tokmem", "auxiliary"): (48.0, 62.0, 66.0, 68.0)}
    rows = [
        row
        for (method, adaptation), scores in gains.items()
        for most, score in enumerate(scores, 1)
        for row in call_rows(method, score + 25, score, adaptation=adaptation, train_max_calls=most)
    ]
    return {**single(name), "track": "compositional", "rows": rows}
