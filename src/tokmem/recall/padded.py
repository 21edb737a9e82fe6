"""Decodes a padded batch with the cache of `transformers`; slower, but right for every backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from tokmem.data.collate import left_pad
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.rows import Row
from tokmem.recall.writer import Writer


def decode_padded(lm: MemoryLM, writer: Writer, rows: Sequence[Row]) -> Iterator[int]:
    """Decodes one batch; rows leave it when they finish.

    Yields after each step how many rows have finished in it.
    """
    ids, mask, positions = (t.to(lm.device) for t in left_pad([row.prompt for row in rows]))
    cache = DynamicCache(config=lm.model.config) if is_recurrent(lm.model) else DynamicCache()
    hidden = lm.hidden(ids, mask, positions, cache)[:, -1]
    going = writer.first(hidden, rows)
    yield going.count(False)
    positions = positions[:, -1:]
    while any(going):
        if not all(going):
            keep = [i for i, goes in enumerate(going) if goes]
            index = torch.tensor(keep)  # on the host: layers may stand on several devices
            cache.batch_select_indices(index)
            mask, positions = mask[index], positions[index]
            rows = [rows[i] for i in keep]
        ids = torch.tensor([row.ids[-1:] for row in rows], device=mask.device)
        mask, positions = torch.cat([mask, torch.ones_like(ids)], 1), positions + 1
        going = writer.next(lm.hidden(ids, mask, positions, cache)[:, -1], rows)
        yield going.count(False)
