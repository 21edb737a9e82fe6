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
        new_examples: training examples seen that were given to this call, counted once an epoch.
        replayed_examples: training examples seen that an earlier call was given.
    """

    seconds: float = 0.0
    steps: int = 0
    validation_loss: float | None = None
    new_examples: int = 0
    replayed_examples: int = 0


class Method(Protocol):
    """Learns procedures from examples and answers queries.

    Attributes:
        continual: whether an answer may depend on what else was learned before the query came.
        forces: whether being told the right procedures may change an answer.
    """

    continual: bool
    forces: bool

    @property
    def trainable_parameters(self) -> int:
        """How many numbers learning may change."""

    @property
    def notes(self) -> Mapping[str, Any]:
        """The settings that a result must name."""

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
