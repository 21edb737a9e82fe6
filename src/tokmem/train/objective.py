"""Objectives: the protocol of what `fit` trains, and a base class for losses without memory tokens."""

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
    """This process's part of a micro-batch.

    Attributes:
        examples: the examples that go through the model together.
        window: all examples whose prefixes are read together, including `examples`.
        places: the index of each of `examples` in `window`.
        key: identifies the window; equal keys mean equal windows.
        draw: number of the optimizer step, and of the micro-batch in it. The random draws of a loss depend
            only on these and a seed, so a resumed run repeats them.
        again: whether a later micro-batch may ask for the window, after other windows.
        turns: the index of each of `examples` in the whole micro-batch; empty if they are the whole.
    """

    examples: Sequence[Encoded]
    window: Sequence[Encoded]
    places: Sequence[int]
    key: Hashable
    draw: tuple[int, int]
    again: bool = True
    turns: Sequence[int] = ()


class Objective(Protocol):
    """A loss, and the parameters that training moves to lower it."""

    @property
    def lm(self) -> MemoryLM | None:
        """The model that runs the sequences; None if the objective has a model of its own."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The parameters that the optimizer moves, always in the same order."""

    @property
    def groups(self) -> Sequence[Group]:
        """The same parameters in the same order, in groups with their own rate and decay."""

    @property
    def usage(self) -> Usage | None:
        """The use of the prefix cache so far; None if prefixes are not read separately."""

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """Prepares a run over these examples.

        Raises:
            TrainingError: there is nothing to train, or the loss cannot take an example.
        """

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Yields the summed losses of the micro-batches of one optimizer step, with graph.

        An objective may run several micro-batches through the model together and yield one sum for them.
        """

    def weight(self, examples: Sequence[Encoded]) -> float:
        """What the summed loss of these examples, those of one optimizer step, is divided by."""

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Yields the summed losses of held-out examples, without random draws.

        Args:
            examples: the same in every call.
            size: examples in a micro-batch, if prefixes are not read separately.
            window: number of examples whose prefixes are read together.
        """

    def after_step(self) -> None:
        """Runs after each step of the optimizer."""

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """Facts and starting tensors that identify a run, in addition to its settings and data."""


def supervised_tokens(examples: Sequence[Encoded]) -> int:
    """How many tokens of the examples are targets of the loss."""
    return sum(sum(example.supervised) for example in examples)


class ResponseObjective(ABC):
    """Next-token cross-entropy on response positions.

    Whole sequences run with a graph: the parameters change the states of the query too, so no prefix is
    frozen.
    """

    usage: Usage | None = None

    @property
    @abstractmethod
    def parameters(self) -> Sequence[nn.Parameter]:
        """The parameters that train."""

    @abstractmethod
    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """See `Objective`."""

    @abstractmethod
    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The summed cross-entropy, without random draws."""

    @property
    def groups(self) -> Sequence[Group]:
        """All at the run's rate."""
        return [Group(self.parameters)]

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """Checks that there are examples.

        Raises:
            TrainingError: there are none.
        """
        if not train:
            raise TrainingError("0 examples", "at least one", "give the stage its training examples")

    def loss(self, piece: Piece) -> LossSum:
        """The summed cross-entropy of a micro-batch, with graph."""
        return self.response_loss(piece.examples)

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Yields the summed cross-entropy of each micro-batch."""
        yield from map(self.loss, pieces)

    def weight(self, examples: Sequence[Encoded]) -> float:
        """The number of their supervised tokens."""
        return supervised_tokens(examples)

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Yields the summed cross-entropy of held-out examples."""
        for i in range(0, len(examples), size):
            yield self.response_loss(examples[i : i + size])

    def after_step(self) -> None:  # noqa: B027 - most have nothing to do
        """Does nothing."""
