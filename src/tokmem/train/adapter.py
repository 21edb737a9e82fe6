"""Objectives of LoRA: an adapter alone, or with memory tokens (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from tokmem.model.fingerprint import fingerprint
from tokmem.model.lora import Adapter
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.bank_objective import BankObjective
from tokmem.train.loss import LossSum
from tokmem.train.objective import Piece, ResponseObjective
from tokmem.train.optim import Group
from tokmem.train.prefix_cache import Usage
from tokmem.train.step import portions, whole_loss


class AdapterObjective(ResponseObjective):
    """The loss of an adapted backbone; logits are computed only at supervised positions.

    Args:
        lm: the adapted model with an empty bank.
        adapter: the adapter that trains.
        seed: of the dropout.
        stage: number of the stage; each stage draws its own dropout.
    """

    def __init__(self, lm: MemoryLM, adapter: Adapter, *, seed: int, stage: int = 0) -> None:
        self.lm, self.adapter, self.seed, self.stage = lm, adapter, seed, stage

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """All parameters of the adapter."""
        return self.adapter.parameters

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The loss without dropout."""
        return whole_loss(self.lm, examples)

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Yields the losses of parts of each micro-batch, with dropout.

        Each part draws its own dropout. See `portions`.
        """
        for piece in pieces:
            for number, part in enumerate(portions(piece.examples, self.lm.device)):
                draw = (*piece.draw, number) if number else piece.draw
                with self.adapter.dropping(self.seed, self.stage, *draw):
                    loss = self.response_loss(part)
                yield loss

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """The fingerprint of the backbone, the adapter's settings and weights, and the stage."""
        facts = {
            "backbone": fingerprint(self.adapter.backbone.model),
            "lora": asdict(self.adapter.settings),
            "stage": self.stage,
        }
        return facts, [p.detach() for p in self.adapter.parameters]


class JointObjective:
    """Eq. 3 over the fresh rows of a bank and a LoRA adapter, each with its own rate.

    Whole sequences run with a graph: the adapter changes the states of the query too, so no prefix is frozen.

    Args:
        lm: the adapted model and its bank.
        adapter: the adapter that trains with the rows.
        rate: rate of the adapter, as a multiple of the run's rate.
        weight_decay: decay of the adapter.
        renorm: rescale the new rows after each step (Eqs. 5-6).
        seed: of the dropout.
        stage: number of the stage; each stage draws its own dropout.
    """

    usage: Usage | None = None

    def __init__(
        self,
        lm: MemoryLM,
        adapter: Adapter,
        *,
        rate: float,
        weight_decay: float,
        renorm: bool = False,
        seed: int = 0,
        stage: int = 0,
    ) -> None:
        self.rows = BankObjective(lm, frozen_prefix=False, cache_bytes=0, renorm=renorm)
        self.lora = AdapterObjective(lm, adapter, seed=seed, stage=stage)
        self.lm, self.rate, self.weight_decay = lm, rate, weight_decay

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The rows, then the matrices of the adapter."""
        return [*self.rows.parameters, *self.lora.parameters]

    @property
    def groups(self) -> Sequence[Group]:
        """Two groups: the rows at the run's rate and decay, and the adapter at its own."""
        return [*self.rows.groups, Group(self.lora.parameters, self.rate, self.weight_decay)]

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """Checks that there are examples and fresh rows.

        Raises:
            TrainingError: there are no examples or no fresh rows.
        """
        self.rows.begin(train, validation)

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Yields Eq. 3 for each micro-batch, with the adapter's dropout."""
        return self.lora.losses(pieces)

    def weight(self, examples: Sequence[Encoded]) -> float:
        """The number of their supervised tokens."""
        return self.lora.weight(examples)

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Yields Eq. 3 on held-out examples."""
        return self.lora.validation(examples, size, window)

    def after_step(self) -> None:
        """Rescales the new rows, if `renorm` is set."""
        self.rows.after_step()

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """The identity of the rows and of the adapter."""
        rows, starts = self.rows.identity()
        lora, matrices = self.lora.identity()
        own = {"lora_rate": self.rate, "lora_weight_decay": self.weight_decay}
        return {**rows, **lora, **own}, [*starts, *matrices]
