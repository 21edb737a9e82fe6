"""`tokmem eval` of a saved bank of tools: measures it on a file of composed queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.config import check_least, setting
from tokmem.data.calls.files import read_calls
from tokmem.data.fields import read_bytes
from tokmem.errors import DataError
from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.tokmem import TokMem
from tokmem.provenance import RunFolder
from tokmem.records import Example
from tokmem.tracks.compositional.scores import ask, mean_scores
from tokmem.tracks.progress import COSTS
from tokmem.tracks.settings import provenance_of


@dataclass(frozen=True)
class CallsEvalConfig:
    """Which bank is measured on which file."""

    bank: str = setting("", "folder of the bank")
    corpus: str = setting("", "file of composed queries, as `tokmem data compose` writes them")
    test_size: int | None = setting(None, "measure on the first so many queries")

    def __post_init__(self) -> None:
        if self.test_size is not None:
            check_least(vars(self), {"test_size": 1})


def measure_calls(config: CallsEvalConfig, memory: TokMem, folder: Path) -> dict[str, Any]:
    """Asks a bank the queries of a file whose tools it knows, freely and with the right tools given.

    Args:
        config: names bank and file.
        memory: the bank with its backbone.
        folder: of the run: `summary.json`, `predictions/calls.json`.

    Returns:
        the summary, as a run of the compositional track writes it.

    Raises:
        ConfigError: the folder holds a run.
        DataError: the file cannot be read, or the bank knows the tools of none of its queries.
    """
    path = Path(config.corpus)
    examples = _known_part(read_calls(path), memory, path)[: config.test_size]
    with RunFolder(folder) as out:
        out.write_config(config)
        answered = ask(memory, examples, memory.bank.procedures)
        atomic_write_json(folder / "predictions" / "calls.json", answered.predictions())
        known = {
            "method": ("tokmem" if memory.bank.coupled else "tokmem_dc")
            + ("+constrained=true" if memory.recall_settings.constrained else ""),
            "adaptation": None,
            "train_max_calls": None,
            "round": None,
            "tools": path.name,
            "settings": dict(memory.notes),
            **dict.fromkeys((*COSTS, "adaptation_seconds", "adaptation_lora_parameters")),
        }
        summary = {
            "name": "eval",
            "track": "compositional",
            "rows": mean_scores([known | row for row in answered.rows()]),
            "procedures": list(memory.bank.names),
            "examples": {"test": len(examples)},
            "backbone": memory.backbone.id,
            "provenance": provenance_of(0, hashlib.sha256(read_bytes(path)).hexdigest(), memory.backbone),
        }
        out.write_summary(summary)
    return {**summary, "wall_seconds": round(out.seconds, 2)}


def _known_part(examples: Sequence[Example], memory: TokMem, path: Path) -> list[Example]:
    """The queries that call only tools of the bank; warns of the number of others."""
    known = [e for e in examples if all(turn.procedure in memory.bank for turn in e.turns)]
    if not known:
        raise DataError(
            f"{path}: no query whose tools are all in the bank",
            f"calls of {', '.join(memory.bank.names[:5])}{', ...' if len(memory.bank) > 5 else ''}",
            "check bank and file",
        )
    if len(known) < len(examples):
        left = len(examples) - len(known)
        logger.warning("%s: %d of %d queries call tools the bank does not know", path, left, len(examples))
    return known
