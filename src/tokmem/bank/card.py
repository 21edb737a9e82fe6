"""The model card of a saved bank: what it holds, what it was measured to do, and what it cannot do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors.torch import save

from tokmem.bank.bank import Bank
from tokmem.bank.facts import Origin
from tokmem.records import counted

SCORES = {
    "routing_accuracy": "routing: the right procedure was chosen",
    "rouge_l": "ROUGE-L",
    "rouge_l_forced": "ROUGE-L, right procedure given",
    "exact_match": "exact match",
    "exact_match_forced": "exact match, right procedure given",
    "tool_f1": "F1 of the called tools",
    "call_f1": "F1 of the calls",
    "call_exact": "all calls exact",
}
"""The scores, in percent, that a card shows, and what it calls them."""

_PLAIN = re.compile(r"[A-Za-z][\w./-]*")

_USE = """from tokmem import TokMem

memory = TokMem.from_pretrained("FOLDER OR ID")"""
_USE_WITH_ADAPTER = """from tokmem.methods.tokmem_lora import TokMemLora

memory = TokMemLora.load("FOLDER OF bank AND adapter")"""


def scores_note(scores: Mapping[str, Any], examples: int, checksum: str) -> dict[str, Any]:
    """What a bank remembers of a measurement, as the entry `scores` of its origin's `training`.

    Args:
        scores: in percent; only those in `SCORES` are kept.
        examples: how many there were.
        checksum: of the examples (hex).
    """
    kept = {name: scores[name] for name in SCORES if scores.get(name) is not None}
    return {**kept, "examples": examples, "sha256": checksum} if kept else {}


def rows_checksum(bank: Bank) -> str:
    """Computes the SHA-256 (hex) of a bank's rows. Scores hold as long as it stays the same."""
    rows = {"steering": bank.steering.rows().cpu().contiguous()}
    if not bank.coupled:
        rows["address"] = bank.address.rows().cpu().contiguous()
    return hashlib.sha256(save(rows)).hexdigest()


def card(bank: Bank, origin: Origin) -> str:
    """Writes the model card, in Markdown, with the front matter that a hub reads."""
    training = origin.training
    license = training.get("license")
    source = f", from the GGUF file with SHA-256 `{origin.source_sha256}`" if origin.source_sha256 else ""
    ids = {n: ", ".join(map(str, bank.slots.ids(n))) for n in bank.names}
    described = {n: _one_line(bank.procedures[n].description) for n in bank.names}
    rows = "\n".join(f"| {_code(n)} | {ids[n]} | {described[n]} |" for n in bank.names)
    return f"""---
library_name: tokmem
{f"license: {_yaml(str(license).lower())}{chr(10)}" if license else ""}base_model: {_yaml(origin.backbone)}
base_model_relation: adapter
tags: [tokmem, procedural-memory]
---

# {counted(len(bank))} as memory tokens

A TokMem bank: one trained token per procedure, beside a frozen backbone.

- backbone: `{origin.backbone}`, fingerprint `{origin.fingerprint}`{source}
- licence of the backbone: {license or f"that of `{origin.backbone}`; read it before you share this bank"}
- {"coupled: address and steering are one row" if bank.coupled else "decoupled: two rows a memory token"}
- {counted(len(bank.slots), "row")} of dimension {bank.dim}
- prompts hold: {training.get("prompt", "not recorded")}
- training data: {_data(training)}

```python
{_USE_WITH_ADAPTER if "adapter" in training else _USE}
print(memory.recall("your query"))
```

The bank names its backbone. If that is a folder of yours, name the folder: `backbone="..."`.

## Procedures

| procedure | token ids | description |
|---|---|---|
{rows}

## Scores

{scores_text(bank, training)}

## Limits

{_limits(bank, training)}
"""


def _data(training: Mapping[str, Any]) -> str:
    """The checksums of what the bank was trained on."""
    sums = [f"`{one}`" for one in dict.fromkeys(_checksums(training))]
    return f"SHA-256 {', '.join(sums)}" if sums else "not recorded"


def _checksums(training: Mapping[str, Any]) -> Iterator[str]:
    came, own, parts = (training.get(name) for name in ("provenance", "trained_on", "merged"))
    if isinstance(came, Mapping) and came.get("data_checksum"):
        yield str(came["data_checksum"])
    yield from map(str, own if isinstance(own, list | tuple) else ())
    for part in parts if isinstance(parts, list) else ():
        yield from _checksums(part) if isinstance(part, Mapping) else ()


def _measured(training: Mapping[str, Any]) -> dict[str, float]:
    """The scores that a bank remembers; `training` may hold anything."""
    held = training.get("scores")
    found = {name: held.get(name) for name in SCORES} if isinstance(held, Mapping) else {}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def scores_text(bank: Bank, training: Mapping[str, Any]) -> str:
    """What a bank was measured to do, in Markdown.

    Args:
        bank: the bank.
        training: what it remembers of its training.
    """
    measured = _measured(training)
    if not measured:
        return "Not measured. `memory.evaluate(examples)` before saving writes scores here."
    note = training["scores"]
    current = note.get("rows") == rows_checksum(bank)
    when = "" if current else " The bank has changed since: these are scores of an earlier state."
    lines = [f"| {SCORES[name]} | {value:.1f}% |" for name, value in measured.items()]
    data = (
        f"Examples: {note.get('examples', 'not recorded')}, SHA-256 `{note.get('sha256', 'not recorded')}`."
    )
    return "\n".join([data + when, "", "| score | value |", "|---|---|", *lines])


def _limits(bank: Bank, training: Mapping[str, Any]) -> str:
    """What the bank cannot do."""
    routing = (
        "Routing was measured on the examples above only. Other queries may be routed worse."
        if "routing_accuracy" in _measured(training)
        else "Routing was not measured on this bank."
    )
    judge = (
        "an ordinary token must beat every memory token"
        if bank.statistics is None
        else "the fit of the nearest procedure decides. By the query alone, without an instruction, this is "
        "not reliable"
    )
    kept = " Its query states and statistics are numbers from which something about queries may be learned."
    return "\n".join(
        f"- {line}"
        for line in (
            "It works with this backbone alone. TokMem refuses other weights and other chat formats.",
            "A memory token evokes what its backbone can do. Answers have the quality of the backbone.",
            routing,
            f"Every query gets one of the procedures, unless you ask for `reject=True`: {judge}.",
            "In TokMem, typed text is never read as a memory token. An engine that runs an export of this "
            "bank encodes the whole prompt as one text. Who types the text of a memory token there calls its "
            "procedure.",
            "The bank holds the names and descriptions of its procedures, and no text of its examples."
            + (kept if bank.statistics is not None or bank.states else ""),
        )
    )


def _code(name: str) -> str:
    """A name as code in a table, whatever signs of Markdown it holds."""
    fence = "`"
    while fence in name:
        fence += "`"
    blank = " " if len(fence) > 1 else ""
    return f"{fence}{blank}{_one_line(name)}{blank}{fence}"


def _yaml(text: str) -> str:
    """A text as a value in YAML, in quotes where it could be read as something else."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
