"""Writes the tables of README.md and docs from committed result files; `--check` only compares.

A page marks them with `<!-- KIND: FILE -->`: `table` shows a whole result, `chains` its scores of tools and
calls alone, `rounds` what is left of each round of tools, `rates` the loss of each rate that was tried,
`forgetting` and `probes` what is left of tasks, `kernels` what moves between processors, `addresses`, `few`,
`orders`, `reject` and `richer` how computed addresses route, `engines` what engines answer right, `trials`
what a campaign tried, `mutants` which changes tests notice, `throughput` and in short `speed` how fast
engines answer, `lessons`, `rivals` and `skills` what students keep of their teachers, `composed` what
two procedures answer together, `tools_as` how tools as tokens call beside tools as text, and `precision` and
`weights` what the type of numbers changes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tokmem.report import distilled
from tokmem.report.call_lines import by_variant, variant_title
from tokmem.report.results import results_table
from tokmem.report.tables import Spread, Table

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    *(
        ROOT / f"docs/{name}.md"
        for name in (
            "results",
            "performance",
            "gpus",
            "routing",
            "reliability",
            "serving",
            "learn",
            "backbones",
        )
    ),
)
BLOCK = re.compile(
    r"(<!-- (table|chains|rounds|rates|forgetting|probes|kernels|addresses|few|orders|reject|richer|engines"
    r"|throughput|speed|trials|mutants|lessons|rivals|composed|skills|tools_as|precision|weights|gpu"
    r"|gpu_recall): (\S+) -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)
SKILLS = {name: title for name, title in distilled.TASKS.items() if name not in ("teacher", "method")} | {
    "procedure": "skill",
    "routing": "routing %",
    "recalled": "recalled %",
}
TOOLS_AS = {
    "tools_as": "tools as",
    "tool_accuracy": "right tool %",
    "calls_right": "right call %",
    "prompt_tokens": "prompt tokens",
    "queries": "requests",
}
PRECISION = {
    "method": "method",
    "trained_in": "trained in",
    "measured_in": "measured in",
    "routing_accuracy": "routing %",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact %",
}
WEIGHTS = {
    "engine": "engine",
    "weights": "weights",
    "schema": "arguments held to schemas",
    "tool_f1": "tool F1",
    "call_exact": "calls exact %",
    "no_call": "no call %",
    "same_tools": "tools as recall %",
    "same_calls": "calls as recall %",
    "calls_chat": "chat taken for a call %",
}
TRIALS = {name: name for name in ("what", "tried", "failed", "seed", "seconds")}
MUTANTS = {
    "what": "package",
    "tried": "changes tried",
    "killed": "noticed",
    "share_noticed": "noticed %",
    "explained": "others explained",
    "since": "noticed since",
    "left": "left",
    "seed": "seed",
    "seconds": "seconds",
}
SHORT = (
    "cache",
    "clients",
    "tools_as",
    "prompt_tokens",
    "requests_per_second",
    "times_text_cpu",
    "prompt_mb",
    "tool_f1",
)
PROBES = {"method": "method", "instruction": "instruction"}
SCORES = {"rouge_l": "ROUGE-L", "routing_accuracy": "routing %"}
BENCH = {
    "train_step": {
        "name": "one training step",
        "tokens_per_second": "tokens/s",
        "speedup": "against plain",
        "peak_gb": "peak GB",
    },
    "epochs": {
        "name": "whole epochs",
        "tokens_per_second": "tokens/s",
        "speedup": "against plain",
        "over_bare": "against bare forward",
        "peak_gb": "peak GB",
        "memory_share": "of plain",
    },
    "profile": {
        "part": "a suffix step, one batch",
        "seconds": "seconds",
        "share": "share",
        "gflops": "GFLOP/s",
    },
    "bank_scale": {
        "kind": "bank",
        "memory_tokens": "memory tokens",
        "step_seconds": "step s",
        "step_ratio": "against 10",
        "suffix_seconds": "prompts cached, s",
        "suffix_ratio": "against 10",
        "routing_ms": "routing ms /query",
        "bank_gb": "bank GB",
        "peak_gb": "peak GB",
    },
    "processes": {
        "name": "one epoch",
        "tokens_per_second": "tokens/s",
        "speedup": "against one thread",
        "slowest": "slowest round",
        "fastest": "fastest round",
    },
    "recall": {
        "name": "recall",
        "queries_per_second": "queries/s",
        "speedup": "against generate",
        "identical": "identical answers",
    },
}
TWO_DIGITS = (
    *("speedup", "over_bare", "peak_gb", "memory_share", "step_seconds", "step_ratio"),
    *("slowest", "fastest", "suffix_seconds", "suffix_ratio", "routing_ms", "queries_per_second"),
)


def table(kind: str, path: Path) -> str:
    """Makes the Markdown table of a result file, or a line in its place if a benchmark has not been run."""
    if "bench" in path.parts and not path.exists():
        return f"`{path.relative_to(ROOT)}`: to be measured with `make bench`.\n"
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if kind in ("gpu", "gpu_recall"):
        return gpu_table(result, recall=kind == "gpu_recall").markdown()
    if "bench" in path.parts:
        formats = dict.fromkeys(TWO_DIGITS, ".2f") | {"bank_gb": ".4f", "identical": ".1%"}
        formats |= {"seconds": ".3f", "share": ".1%", "gflops": ".0f"}
        titles = BENCH[re.sub("_(mini|smollm2)$", "", path.stem)].items()
        found = {key: title for key, title in titles if any(key in row for row in result["rows"])}
        return Table(result["rows"], found, formats).markdown()
    if kind == "lessons":
        return distilled.lines_table(distilled.task_lines(result["rows"]), distilled.TASKS).markdown()
    if kind == "composed":
        return distilled.composed_table(result["rows"]).markdown()
    if kind == "skills":
        rows = [{**row, "width": row["tokens"]} for row in result["rows"]]
        return Table(rows, SKILLS, distilled.FORMATS).markdown()
    if kind == "rivals":  # of tasks that more than the lesson learned
        compared = {row["procedure"] for row in result["rows"] if row["method"] != "lesson"}
        rows = [row for row in result["rows"] if row["procedure"] in compared]
        return distilled.lines_table(distilled.task_lines(rows), distilled.TASKS).markdown()
    if kind == "tools_as":
        return Table(result["calls"], TOOLS_AS, {"prompt_tokens": ".0f"}).markdown()
    if kind == "precision":
        return Table(result["rows"], PRECISION).markdown()
    if kind == "weights":
        rows = [{**row, "schema": "yes" if row["schema"] else "no"} for row in result["rows"]]
        return Table(rows, WEIGHTS).markdown()
    if kind == "trials":
        return Table(result["rows"], TRIALS, {"seconds": ".0f"}).markdown()
    if kind == "mutants":
        rows = [row | {"share_noticed": 100 * row["killed_share"]} for row in result["rows"]]
        return Table(rows, MUTANTS, {"share_noticed": ".0f", "seconds": ".0f"}).markdown()
    if kind == "table":
        return results_table(result).markdown()
    if kind == "chains":
        whole = results_table(result)
        shown = {
            k: v for k, v in whole.titles.items() if k == "method" or k.split()[0] in ("tool_f1", "call_f1")
        }
        return Table(whole.rows, shown).markdown()
    if kind == "rounds":
        return rounds_table(result["forgetting"]).markdown()
    if kind in ("addresses", "few", "orders", "reject", "richer"):
        return states_table(kind, result).markdown()
    if kind == "rates":
        return rates_table(result["rate_losses"], result["chosen_rates"]).markdown()
    if kind == "engines":
        return engines_table(result["rows"]).markdown()
    if kind in ("throughput", "speed"):
        return throughput_table(result["rows"], short=kind == "speed").markdown()
    if kind == "kernels":
        return kernels_table(result).markdown()
    return (forgetting_table if kind == "forgetting" else probes_table)(result[kind]).markdown()


def rounds_table(rows: list[dict[str, Any]]) -> Table:
    """Makes a row for each method: final tool F1 of each round's tools, and means then and when learned."""
    last = max(row["after"] for row in rows)
    lines = []
    for own in by_variant(rows).values():
        ends = [row for row in own if row["after"] == last]
        line: dict[str, Any] = {"method": variant_title(own[0])}
        line |= {f"round {row['learned']}": score(row, "tool_f1") for row in ends}
        for name in ("tool_f1", "call_f1"):
            line[f"{name} end"] = fmean(row[name] for row in ends)
            line[f"{name} own"] = fmean(row[name] for row in own if row["after"] == row["learned"])
        lines.append(line)
    columns = {"method": "tool F1 in the end"} | {f"round {k}": f"round {k}" for k in range(1, last + 1)}
    for name, title in (("tool_f1", "tool F1"), ("call_f1", "call F1")):
        columns |= {f"{name} end": f"{title}, mean", f"{name} own": f"{title}, when learned"}
    return Table(lines, columns)


def rates_table(losses: dict[str, dict[str, float]], chosen: dict[str, float]) -> Table:
    """Makes a row for each method and rate."""
    rows = [
        {"method": name, "rate": rate, "loss": loss, "chosen": "yes" if float(rate) == chosen[name] else "no"}
        for name, own in losses.items()
        for rate, loss in own.items()
    ]
    columns = {"method": "method", "rate": "rate", "loss": "validation loss", "chosen": "chosen"}
    return Table(rows, columns, {"loss": ".3f"})


def forgetting_table(rows: list[dict[str, Any]]) -> Table:
    """Makes a row for each method and stage of learning, a column for each score and stage of measuring."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in ("method", "prompt", "train_size", "learned_at"))
        line = lines.setdefault(key, {"method": row["method"], "learned_at": row["learned_at"]})
        line |= {f"{name}_{row['evaluated_at']}": score(row, name) for name in SCORES}
    methods = list(dict.fromkeys(key[:-1] for key in lines))
    order = sorted(lines, key=lambda key: (methods.index(key[:-1]), key[-1]))
    stages = sorted({row["evaluated_at"] for row in rows})
    columns = {"method": "method", "learned_at": "learned by"}
    for name, title in SCORES.items():
        columns |= {f"{name}_{k}": f"{title} at {k}" for k in stages}
    return Table([lines[key] for key in order], columns)


def probes_table(rows: list[dict[str, Any]]) -> Table:
    """Makes a row for each method and kind of instruction."""
    cells = [{key: row[key] for key in PROBES} | {name: score(row, name) for name in SCORES} for row in rows]
    return Table(cells, PROBES | SCORES)


def kernels_table(result: dict[str, Any]) -> Table:
    """Makes a row for each method and prompt mode: each score by kind of kernels, and how far it moves."""
    columns = {"method": "method", "prompt": "prompt"}
    for name, title in SCORES.items():
        columns |= {f"{name}_{kernel}": f"{title}, {kernel}" for kernel in result["kernels"]}
        columns[f"{name}_range"] = "moves by"
    return Table(result["rows"], columns)


def engines_table(rows: list[dict[str, Any]]) -> Table:
    """Makes a row for each engine and spelling of calls: how many ways of asking are answered right."""
    lines: dict[tuple[str, str], dict[str, list[bool]]] = {}
    for row in rows:
        key = f"{row['engine']} {row['version']}", row["spelling"]
        lines.setdefault(key, {}).setdefault(row["case"], []).append(row["ok"])
    cells = [
        {"engine": engine, "calls spelled": spelling, **{c: f"{sum(v)} of {len(v)}" for c, v in line.items()}}
        for (engine, spelling), line in lines.items()
    ]
    return Table(cells)


def throughput_table(rows: list[dict[str, Any]], short: bool = False) -> Table:
    """Makes a row for each way of naming tools, with the prompt cache off and on; `short` drops columns."""
    titles = {
        "cache": "prompt cache",
        "clients": "clients",
        "tools_as": "tools as",
        "prompt_tokens": "prompt tokens",
        "requests_per_second": "requests/s",
        "cpu_seconds": "CPU seconds a request",
        "times_text_cpu": "times text, by CPU",
        "prompt_mb": "MB a cached prompt",
        "server_mb": "server MB",
        "tool_f1": "tool F1",
        "requests": "requests",
    }
    if short:
        titles = {name: titles[name] for name in SHORT}
    lines = [{**row, "cache": "on" if row["cache"] else "off"} for row in rows]
    formats = {"requests_per_second": ".3f", "cpu_seconds": ".2f", "prompt_tokens": ".0f", "requests": "d"}
    return Table(lines, titles, formats | {"server_mb": ".0f"})


def gpu_table(result: dict[str, Any], recall: bool) -> Table:
    """Makes the table of training on a GPU, with ratios to PEFT, or of recall there."""
    if recall:
        titles = {"backbone": "backbone", **BENCH["recall"], "name": "recall, 256 queries at a time"}
        formats = {"speedup": ".2f", "queries_per_second": ".1f", "identical": ".1%"}
        return Table(result["recall"], titles, formats)
    rows = []
    for row in result["rows"]:  # a row that did not fit into the memory has no speed
        place = {"backbone": row["backbone"], "batch": row["batch"], "name": "peft"}
        peft = next((r["tokens_per_second"] for r in result["rows"] if place.items() <= r.items()), None)
        speed = row.get("tokens_per_second")
        rows.append({**row, "against": speed / peft if speed and peft else None})
    titles = {
        "backbone": "backbone",
        "batch": "queries a step",
        "name": "training",
        "tokens_per_second": "tokens/s",
        "against": "against PEFT",
        "share_of_peak": "of the card's peak",
        "peak_gb": "peak GB",
    }
    formats = {"batch": "d", "tokens_per_second": ",.0f", "against": ".2f", "share_of_peak": ".1%"}
    return Table(rows, titles, formats | {"peak_gb": ".1f"})


def states_table(kind: str, result: dict[str, Any]) -> Table:
    """Makes the table of a measurement of routing on states: by size, over random orders, or of rejects."""
    if kind == "reject":
        titles = {"prompt": "prompt", "examples": "examples", "measure": "measure"}
        titles |= {f"auroc_{key}": f"AUROC, {key}" for key in ("unseen", "chat")}
        titles |= {"accepted_known": "known accepted %"}
        titles |= {f"false_accept_{key}": f"{key} accepted %" for key in ("unseen", "chat")}
        return Table(result["rows"], titles, {f"auroc_{key}": ".3f" for key in ("unseen", "chat")})
    if kind == "orders":
        shown = ("prompt", "addresses", "mean", "std", "least", "most", "changed_routes")
        return Table(result["orders"], {name: name.replace("_", " ") for name in shown}, {"std": ".2f"})
    if kind == "richer":
        return by_size(result["rows"], ("prompt", "router"))
    if kind == "few":
        return few_table([row for row in result["rows"] if row["order"] == 0])
    least = min(row["examples"] for row in result["rows"] if row["addresses"] == "trained")
    rows = [row for row in result["rows"] if row["order"] == 0 and row["examples"] >= least]
    return by_size(rows, ("prompt", "addresses"))


def by_size(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> Table:
    """Makes a table: a line for each value of the keys, a column for each number of tasks and examples."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault(tuple(row[key] for key in keys), {key: row[key] for key in keys})
        line[f"{row['tasks']} tasks, {row['examples']} examples"] = row["routing_accuracy"]
    return Table(list(lines.values()))


def few_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Makes the table of computed addresses by number of examples, with stand-in queries and without."""
    made = [row for row in rows if "stand-ins" in row["addresses"]]
    prompts = {row["prompt"] for row in made}
    own = [row for row in rows if row["addresses"] == "closed, updated" and row["prompt"] in prompts]
    lines: dict[tuple[int, str], dict[Any, Any]] = {}
    for row in sorted([*own, *made], key=lambda row: (row["tasks"], row["examples"])):
        read = "sixteen" if row in made else "none"
        line = lines.setdefault((row["tasks"], read), {"tasks": row["tasks"], "stand-in queries": read})
        line[row["examples"]] = row["routing_accuracy"]
    counts = sorted({row["examples"] for row in made})
    titles: dict[Any, str] = {name: name for name in ("tasks", "stand-in queries")}
    titles |= {count: f"{count} example{'' if count == 1 else 's'}" for count in counts}
    return Table(list(lines.values()), titles)


def score(row: dict[str, Any], name: str) -> Spread | float | None:
    """Writes a score, with its spread if there are several seeds."""
    value: float | None = row[name]
    return value if value is None or f"{name}_std" not in row else Spread(value, row[f"{name}_std"], 2)


def updated(text: str) -> str:
    """Returns the text with every marked table written anew."""
    return BLOCK.sub(lambda m: m[1] + table(m[2], ROOT / m[3]) + m[4], text)


def main() -> int:
    """Rewrites the pages, or with `--check` says whether they are up to date."""
    texts = {page: page.read_text("utf-8") for page in PAGES}
    if "--check" in sys.argv:
        return int(any(updated(text) != text for text in texts.values()))
    for page, text in texts.items():
        page.write_text(updated(text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
