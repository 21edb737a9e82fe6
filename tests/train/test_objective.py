"""The base class of losses without memory tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.tiny import tiny_plain_examples
from tokmem.records import Encoded
from tokmem.train.loss import LossSum
from tokmem.train.objective import Piece, ResponseObjective


class Counting(ResponseObjective):
    """Its loss is the number of tokens."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        return ()

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        return {}, ()

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        zero, count = torch.tensor(0.0), sum(len(e.ids) for e in examples)
        return LossSum(zero + count, zero, count, zero)


def test_each_micro_batch_has_a_loss_of_its_own() -> None:
    examples = tiny_plain_examples(5)
    pieces = [Piece(examples[i : i + 2], examples, range(i, min(i + 2, 5)), "w", (0, i)) for i in (0, 2, 4)]
    wanted = [sum(len(e.ids) for e in piece.examples) for piece in pieces]
    made = Counting()
    assert [one.count for one in made.losses(pieces)] == wanted
    assert [one.count for one in made.validation(examples, 2, 4)] == wanted
