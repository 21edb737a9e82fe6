"""The model card and the facts that an export carries."""

from __future__ import annotations

from typing import Any

from tokmem import __version__
from tokmem.bank.card import scores_text
from tokmem.export.spelling import escaped
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.catalog import CATALOG
from tokmem.records import counted

FACTS, CARD = "tokmem.json", "README.md"
FORMAT = 1
_THEIRS = "These are scores of the bank itself, by `tokmem`. An engine that rounds numbers may reach others."


def facts(memory: TokMem, vocabulary: Vocabulary, kind: str, difference: float | None) -> dict[str, Any]:
    """What an export says of itself, for programs.

    Args:
        memory: the memory.
        vocabulary: texts of the rows.
        kind: form of the export.
        difference: largest difference of logits that the checks found; None if nothing was checked.
    """
    backbone = memory.backbone
    procedures = {
        name: {
            "id": token,
            "text": vocabulary.texts[name],
            "name": escaped(name),
            "tool": token in vocabulary.tools,
        }
        for name, token in vocabulary.ids.items()
    }
    return {
        "format": FORMAT,
        "kind": kind,
        "spelling": vocabulary.spelling.name,
        "backbone": backbone.id,
        "fingerprint": backbone.fingerprint,
        "source_sha256": backbone.source_sha256,
        "chat": memory.chat.fingerprint,
        "coupled": memory.bank.coupled,
        "rows": vocabulary.rows,
        "checked": difference is not None,
        "difference": difference,
        "tokmem": __version__,
        "procedures": procedures,
    }


def card(memory: TokMem, vocabulary: Vocabulary, what: str) -> str:
    """The model card.

    Args:
        memory: the memory.
        vocabulary: texts of the rows.
        what: a paragraph on the form and how to load it.
    """
    backbone = memory.backbone
    named = CATALOG.get(backbone.id)
    license = named.license if named else f"that of `{backbone.id}`: read it before you share this folder"
    rows = "\n".join(
        f"| `{_cell(name)}` | `{_cell(vocabulary.texts[name])}` | {token} "
        f"| {_cell(memory.bank.procedures[name].description)} |"
        for name, token in vocabulary.ids.items()
    )
    return f"""---
{f"license: {named.license.lower()}{chr(10)}" if named else ""}base_model: {backbone.id}
tags: [tokmem, procedural-memory]
---

# {backbone.id} with {counted(len(memory.bank))} as memory tokens

{what}

- backbone: `{backbone.id}`, fingerprint of its weights `{backbone.fingerprint}`
- licence of the backbone: {license}
- made by tokmem {__version__}; `{FACTS}` has the same facts for programs

The model writes a procedure's token, and then its response. A tool's token reads as the start of a call, so
an engine's own parser turns it and the JSON after it into a tool call. The model needs no list of tools in a
request; the chat template drops one.

**Typed text.** An engine encodes the whole prompt as one text. A user who types the text of a memory token
therefore calls its procedure. Keep these texts out of what users send if that matters.

| procedure | text of its token | token id | description |
|---|---|---|---|
{rows}

## Scores

{_THEIRS}

{scores_text(memory.bank, memory.history)}
"""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
