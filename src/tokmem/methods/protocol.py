"""What every method can do, so that a track can favour none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokmem.log import Metrics
from tokmem.records import Answer, Example, Procedure


@dataclass(frozen=True)
class Learned:
    """What learning cost.

    Attributes:
        seconds: wall time.
        steps: optimizer steps.
        validation_loss: lowest mean loss on the validation examples; None where there were none.
    """

    seconds: float = 0.0
    steps: int = 0
    validation_loss: float | None = None


class Method(Protocol):
    """Learns procedures from examples and answers queries."""

    @property
    def trainable_parameters(self) -> int:
        """How many numbers learning may change."""

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        metrics: Metrics | None = None,
    ) -> Learned:
        """Learns a stage of new procedures."""

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each example's query; `forced` gives the method the right procedures."""

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes what has been learned so far, replacing the folder; `training` says where it comes from."""

    def restore(self, folder: Path) -> None:
        """Takes up what `save` wrote; the next `learn` is the one that would have followed."""
