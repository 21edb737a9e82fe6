"""Training without memory tokens: cross-entropy on response positions, for rivals that `fit` trains too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from tokmem.errors import TrainingError
from tokmem.model.backbone import fingerprint
from tokmem.model.lora import Adapter
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.loss import LossSum
from tokmem.train.objective import Piece
from tokmem.train.optim import Group
from tokmem.train.step import whole_loss


class ResponseObjective(ABC):
    """Next-token cross-entropy on response positions.

    Plain forwards: what trains changes the query's states too, so no prefix is frozen.
    """

    hits = misses = 0

    @property
    @abstractmethod
    def parameters(self) -> Sequence[nn.Parameter]:
        """What trains."""

    @abstractmethod
    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """See `Objective`."""

    @abstractmethod
    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """Summed cross-entropy, nothing drawn."""

    @property
    def groups(self) -> Sequence[Group]:
        """All at the run's rate."""
        return [Group(self.parameters)]

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """There is always something to train.

        Raises:
            TrainingError: no examples.
        """
        if not train:
            raise TrainingError("0 examples", "at least one", "give the stage its training examples")

    def loss(self, piece: Piece) -> LossSum:
        """Summed cross-entropy of a micro-batch, with graph."""
        return self.response_loss(piece.examples)

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Cross-entropy of held-out examples."""
        for i in range(0, len(examples), size):
            yield self.response_loss(examples[i : i + size])

    def after_step(self) -> None:  # noqa: B027 - most have nothing to do
        """Nothing to do."""


class AdapterObjective(ResponseObjective):
    """The loss of an adapted backbone; logits are made at supervised positions alone.

    Args:
        lm: the adapted model with an empty bank.
        adapter: what trains.
        seed: of the dropout.
        stage: number of the stage; each draws its own dropout.
    """

    def __init__(self, lm: MemoryLM, adapter: Adapter, *, seed: int, stage: int = 0) -> None:
        self.lm, self.adapter, self.seed, self.stage = lm, adapter, seed, stage

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """All of the adapter's."""
        return self.adapter.parameters

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """Without dropout."""
        return whole_loss(self.lm, examples)

    def loss(self, piece: Piece) -> LossSum:
        """Under dropout."""
        with self.adapter.dropping(self.seed, self.stage, *piece.draw):
            return self.response_loss(piece.examples)

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """The backbone's weights, the adapter's settings and weights, and the stage."""
        facts = {
            "backbone": fingerprint(self.adapter.backbone.model),
            "lora": asdict(self.adapter.settings),
            "stage": self.stage,
        }
        return facts, [p.detach() for p in self.adapter.parameters]
