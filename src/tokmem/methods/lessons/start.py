"""Chooses the rows that a student starts from, among stretches of the lesson's own tokens.

Several tokens that start as copies of one row stay alike during most of the training. Rows of real tokens are
a short prompt already. So this module tries several stretches of the text, and keeps the best one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tokmem.methods.closed import encode_given, reader
from tokmem.methods.counting import ClosedMemory
from tokmem.model.backbone import input_embedding
from tokmem.model.placed import values_of
from tokmem.records import Encoded, Example
from tokmem.train.distil import DistilObjective
from tokmem.train.objective import Objective
from tokmem.train.targets import Targets

_QUERIES = 8  # that compare the stretches
_CACHE = 1 << 28  # bytes for their prefixes


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
    bank.freeze()
    bank.thaw([name])
    encoded = encode_given(memory, examples[:_QUERIES])
    objective = DistilObjective(reader(memory), targets=targets, frozen_prefix=True, cache_bytes=_CACHE)
    objective.begin(encoded, [])
    weight = values_of(input_embedding(memory.backbone.model))
    start_from_text(bank.steering.fresh.data, memory.chat.text_ids(text), weight, objective, encoded, tries)


@torch.no_grad()
def start_from_text(
    rows: Tensor,
    ids: Sequence[int],
    weight: Tensor,
    objective: Objective,
    encoded: Sequence[Encoded],
    tries: int,
) -> None:
    """Sets rows to the stretch of a text with the lowest loss, unless they have a lower one already.

    Args:
        rows: (S, d) soft prompt that the objective reads; changed in place.
        ids: tokens of the text.
        weight: (V, d) input embeddings.
        objective: the loss.
        encoded: examples; the first few compare.
        tries: how many stretches to compare.
    """
    some = encoded[:_QUERIES]

    def loss(start: Tensor) -> float:
        rows.copy_(start)
        return sum(float(one.total) for one in objective.validation(some, _QUERIES, _QUERIES))

    starts = [rows.clone(), *(weight[part].to(rows) for part in _stretches(ids, len(rows), tries))]
    rows.copy_(min(starts, key=loss))


def _stretches(ids: Sequence[int], width: int, count: int) -> Iterator[list[int]]:
    """Different stretches of `width` tokens, evenly spread over the text; the last one ends it."""
    ids = [*ids] * -(-width // max(1, len(ids)))  # a shorter text is repeated
    last = len(ids) - width
    places = {round(last * number / max(1, count - 1)) for number in range(count)}
    yield from ([*one] for one in dict.fromkeys(tuple(ids[i : i + width]) for i in sorted(places)))
