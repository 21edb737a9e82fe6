"""Chooses the rows that a student starts from, among stretches of the lesson's own tokens.

Several tokens that start as copies of one row stay alike during most of the training. Rows of real tokens are
a short prompt already. So this module tries several stretches of the text, and keeps the best one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tokmem.methods.closed import ClosedMemory, encode_given, reader
from tokmem.records import Example
from tokmem.train.distil import DistilObjective
from tokmem.train.targets import Targets

_QUERIES = 8  # that compare the stretches
_CACHE = 1 << 28  # bytes for their prefixes


@torch.no_grad()
def choose_start(
    memory: ClosedMemory, name: str, text: str, examples: Sequence[Example], targets: Targets, tries: int
) -> None:
    """Gives a new procedure the start with the lowest divergence from the teacher.

    Args:
        memory: holds the procedure with a start of its own, which is compared too.
        name: of the procedure.
        text: whose tokens may become the start.
        examples: queries with the teacher's responses; the first few compare.
        targets: the teacher's predictions.
        tries: how many stretches of the text to compare; 0 leaves the start as it is.
    """
    bank = memory.bank
    weight: Any = memory.backbone.model.get_input_embeddings().weight
    bank.freeze()
    bank.thaw([name])
    rows = bank.steering.fresh.data
    encoded = encode_given(memory, examples[:_QUERIES])
    objective = DistilObjective(reader(memory), targets=targets, frozen_prefix=True, cache_bytes=_CACHE)
    objective.begin(encoded, [])

    def loss(start: Tensor) -> float:
        rows.copy_(start)
        return sum(float(one.total) for one in objective.validation(encoded, _QUERIES, _QUERIES))

    stretches = _stretches(memory.chat.text_ids(text), len(rows), tries)
    starts = [rows.clone(), *(weight[ids].to(rows) for ids in stretches)]
    rows.copy_(min(starts, key=loss))


def _stretches(ids: Sequence[int], width: int, count: int) -> Iterator[list[int]]:
    """Different stretches of `width` tokens, evenly spread over the text; the last one ends it."""
    ids = [*ids] * -(-width // max(1, len(ids)))  # a shorter text is repeated
    last = len(ids) - width
    places = {round(last * number / max(1, count - 1)) for number in range(count)}
    yield from ([*one] for one in dict.fromkeys(tuple(ids[i : i + width]) for i in sorted(places)))
