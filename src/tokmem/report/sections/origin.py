"""Where the numbers come from (settings, versions, seeds, checksums), and what the backbone does alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tokmem.report.blocks import Block, Facts, Listing, Section, TableBlock
from tokmem.report.rows import Run
from tokmem.report.tables import Table

_PROVENANCE = {
    "date": "date",
    "seed": "first seed",
    "device": "device",
    "dtype": "type of the backbone's numbers",
    "commit": "commit",
    "backbone_fingerprint": "backbone fingerprint",
    "backbone_source_sha256": "backbone's GGUF file, SHA-256",
    "data_checksum": "data checksum",
}


def origin(runs: Sequence[Run]) -> Section:
    """Shows settings and provenance of each run."""
    blocks: list[Block] = []
    for run in runs:
        blocks.append(Facts(run.title, _facts(run.result)))
        if run.result.get("experiment"):
            blocks.append(Listing(f"{run.title}: the experiment file", str(run.result["experiment"])))
    return Section("origin", "Where the numbers come from", blocks)


def _facts(result: Mapping[str, Any]) -> dict[str, str]:
    came = result.get("provenance") or {}
    facts = {"backbone": result.get("backbone")}
    facts["examples"] = ", ".join(f"{n:,} {split}" for split, n in (result.get("examples") or {}).items())
    facts["procedures"] = len(result.get("procedures") or ()) or None
    skipped = result.get("skipped") or {}
    facts["procedures skipped"] = "; ".join(f"{name}: {why}" for name, why in skipped.items())
    rates = result.get("chosen_rates") or {}
    facts["rates chosen on validation loss"] = ", ".join(f"{key}: {rate:g}" for key, rate in rates.items())
    facts["settings changed"] = ", ".join(result.get("overrides") or ())
    facts |= {title: came.get(key) for key, title in _PROVENANCE.items()}
    if came.get("dirty"):
        facts["commit"] = f"{came.get('commit')}, with changes"
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in (came.get("versions") or {}).items())
    seconds = result.get("wall_seconds")
    facts["wall time"] = None if seconds is None else f"{seconds:,.0f} s"
    return {title: str(value) for title, value in facts.items() if value not in (None, "")}


_GROUPS = {
    "exact_trained": "families in the backbone's training, fresh inputs",
    "exact_held_out_instructed": "held-out families, by instruction",
    "exact_other": "other families",
}
_FIGURES = {
    "parameters": "parameters",
    "held_out_loss": "loss on held-out text",
    "copy": "random sequences copied, %",
    "mean_exact_trained": "exact on trained families, mean %",
    "median_exact_trained": "exact on trained families, median %",
    "natural_instructions_mean_rouge_l": "Super-NaturalInstructions, mean ROUGE-L",
    "examples_per_family": "examples a family",
    "backbone_fingerprint": "fingerprint",
}


def backbones(results: Sequence[Mapping[str, Any]]) -> Section:
    """Shows what the bundled backbone can do before any memory token is trained."""
    blocks: list[Block] = []
    for result in results:
        facts = {title: _plain(result[key]) for key, title in _FIGURES.items() if result.get(key) is not None}
        tokens = (result.get("training") or {}).get("tokens")
        facts |= {"trained on": f"{tokens:,} tokens"} if tokens else {}
        blocks.append(Facts(f"{result.get('backbone', 'mini')} alone", facts))
        groups = {title: result[key] for key, title in _GROUPS.items() if result.get(key)}
        summary = [_summary(title, values) for title, values in groups.items()]
        columns = {
            "what": "families",
            "count": "how many",
            "mean": "mean exact %",
            "whole": "at 100 %",
            "zero": "at 0 %",
        }
        blocks.append(TableBlock("Exact answers by kind of family", Table(summary, columns)))
        each = [
            {"group": title, "family": name, "exact": value}
            for title, values in groups.items()
            for name, value in sorted(values.items(), key=lambda entry: -entry[1])
        ]
        table = Table(each, {"family": "family", "exact": "exact %"})
        blocks.append(
            TableBlock(
                "Exact answers of each family", table, group="group", bars=frozenset({"exact"}), folded=True
            )
        )
    return Section("backbone", "The bundled backbone", blocks)


def _summary(title: str, values: Mapping[str, float]) -> dict[str, Any]:
    numbers = list(values.values())
    whole, zero = sum(n == 100 for n in numbers), sum(n == 0 for n in numbers)
    return {"what": title, "count": len(numbers), "mean": fmean(numbers), "whole": whole, "zero": zero}


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
