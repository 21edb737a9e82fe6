"""`tokmem eval` of a saved bank of tools: measures it on a file of composed queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.config import Config, check_least, setting
from tokmem.data.calls.files import read_calls
from tokmem.data.fields import read_bytes
from tokmem.errors import DataError
from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.tokmem import TokMem
from tokmem.records import Example
from tokmem.tracks.compositional.scores import ask, mean_scores
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.progress import COSTS


@dataclass(frozen=True)
class CallsEvalConfig(Config):
    """Which bank is measured on which file."""

    bank: str = setting("", "folder of the bank")
    corpus: str = setting("", "file of composed queries, as `tokmem data compose` writes them")
    test_size: int | None = setting(None, "queries to measure on; none: all")
    name: str = setting("eval", "names the run")
    track: str = setting("compositional", "whose rows the summary has")
    seeds: tuple[int, ...] = setting((0,), "none: nothing is drawn")

    def __post_init__(self) -> None:
        check_least(vars(self), {"test_size": 1})


class CallsEvaluation(Experiment):
    """Asks a bank the queries of a file whose tools it knows, freely and with the right tools given.

    Args:
        config: names bank and file.
        memory: the bank with its backbone.
        folder: of the run; receives `predictions/calls.json`.

    Raises:
        DataError: the file cannot be read, or no query's tools are all in the bank.
    """

    parts = ("calls",)

    def __init__(self, config: CallsEvalConfig, memory: TokMem, folder: Path) -> None:
        self.path, self.memory, self.folder = Path(config.corpus), memory, folder
        self.examples = _known_part(read_calls(self.path), memory, self.path)[: config.test_size]
        self.checksum = hashlib.sha256(read_bytes(self.path)).hexdigest()

    def run(self, part: str) -> list[dict[str, Any]]:
        """Asks all queries."""
        memory = self.memory
        answered = ask(memory, self.examples, memory.bank.procedures)
        atomic_write_json(self.folder / "predictions" / f"{part}.json", answered.predictions())
        known = {
            "method": ("tokmem" if memory.bank.coupled else "tokmem_dc")
            + ("+constrained=true" if memory.recall_settings.constrained else ""),
            "tools": self.path.name,
            "settings": dict(memory.notes),
            **dict.fromkeys(("adaptation", "train_max_calls", "round", *COSTS)),
            **dict.fromkeys(("adaptation_seconds", "adaptation_lora_parameters")),
        }
        return [known | row for row in answered.rows()]

    def summarise(self, results: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """The rows, as a run of the compositional track has them."""
        return {
            "rows": mean_scores(results[0]),
            "procedures": list(self.memory.bank.names),
            "examples": {"test": len(self.examples)},
        }


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
