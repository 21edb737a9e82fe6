"""What `fit` trains: the protocol of an objective, and the base of those without memory tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from tokmem.errors import TrainingError
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.loss import LossSum
from tokmem.train.optim import Group
from tokmem.train.prefix_cache import Usage


@dataclass(frozen=True)
class Piece:
    """A micro-batch of training and where it comes from.

    Attributes:
        examples: go through the model together.
        window: the examples whose prefixes are read together, these among them.
        places: where in `window` each of `examples` stands.
        key: names the window; equal keys, equal windows.
        draw: optimizer step, and number of the micro-batch in it. What a loss draws depends on these and a
            seed alone, so that a resumed run draws the same.
        again: whether the window will be asked for in a later epoch.
        turns: where in the whole micro-batch each of `examples` stands; empty where they are the whole.
    """

    examples: Sequence[Encoded]
    window: Sequence[Encoded]
    places: Sequence[int]
    key: Hashable
    draw: tuple[int, int]
    again: bool = True
    turns: Sequence[int] = ()


class Objective(Protocol):
    """A loss and the parameters that are to lower it."""

    @property
    def lm(self) -> MemoryLM | None:
        """What runs the sequences; None where something else does."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """What the optimizer moves, always in the same order."""

    @property
    def groups(self) -> Sequence[Group]:
        """The same in the same order, with the rate and decay of each."""

    @property
    def usage(self) -> Usage | None:
        """What the prefix cache has done so far; None if no prefixes are read apart from the sequences."""

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """Makes ready for a run over these examples.

        Raises:
            TrainingError: there is nothing to train, or an example does not suit the loss.
        """

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Summed losses of the micro-batches of one optimizer step, with graph.

        An objective may run several micro-batches through the model together and give their sum.
        """

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Summed losses of held-out examples as they stand, nothing drawn, in micro-batches.

        Args:
            examples: the same in every call.
            size: examples in a micro-batch, where prefixes are not read apart.
            window: examples whose prefixes are read together, where prefixes are read.
        """

    def after_step(self) -> None:
        """Called when the optimizer has moved the parameters."""

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """What makes two runs the same beside settings and data: facts, and the tensors to start from."""


class ResponseObjective(ABC):
    """Next-token cross-entropy on response positions.

    Plain forwards: what trains changes the query's states too, so no prefix is frozen.
    """

    usage: Usage | None = None

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

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Summed cross-entropies of micro-batches, one after the other."""
        yield from map(self.loss, pieces)

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Cross-entropy of held-out examples."""
        for i in range(0, len(examples), size):
            yield self.response_loss(examples[i : i + size])

    def after_step(self) -> None:  # noqa: B027 - most have nothing to do
        """Nothing to do."""
