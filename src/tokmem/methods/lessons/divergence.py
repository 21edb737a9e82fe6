"""Measures how far a student's predictions are from its teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tokmem.methods.closed import encode_given, reader
from tokmem.methods.counting import ClosedMemory
from tokmem.records import Encoded, Example
from tokmem.train.distil import DistilObjective
from tokmem.train.objective import Objective
from tokmem.train.targets import Targets


def mean_divergence(
    memory: ClosedMemory, examples: Sequence[Example], targets: Targets, *, alone: bool = False
) -> float:
    """The divergence in nats for each token of the teacher's responses.

    Args:
        memory: the student.
        examples: queries with the teacher's responses.
        targets: the teacher's predictions.
        alone: whether to measure the backbone without the memory token instead.
    """
    encoder, lm = memory.encoder, reader(memory)
    encoded = [encoder.encode_plain(e) for e in examples] if alone else encode_given(memory, examples)
    objective = DistilObjective(lm, targets=targets, frozen_prefix=False, cache_bytes=0)
    return mean_loss(objective, encoded)


@torch.no_grad()
def mean_loss(objective: Objective, encoded: Sequence[Encoded]) -> float:
    """The mean loss of held-out examples, for each supervised token."""
    sums = list(objective.validation(encoded, 8, len(encoded)))
    return sum(float(one.total) for one in sums) / sum(one.count for one in sums)
