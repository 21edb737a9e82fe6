"""Continuous batching: a waiting prompt takes the place of a finished row.

Each running row has a place in one buffer of keys and values. The buffer outlives the rows and grows seldom,
so a step copies nothing. Rows are padded on the right; a step attends up to the end of the longest row.

Letters: B running rows, R places, C positions of room, L positions of the longest row, H heads, G key-value
heads, D head size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from tokmem.model.memory_lm import MemoryLM
from tokmem.model.packed import PackedRow, run_packed
from tokmem.recall.prompts import PromptReader, ReadPrompt
from tokmem.recall.rows import Row
from tokmem.recall.writer import Writer

CHUNK = 64  # positions; the room grows by multiples of it


class RowCache:
    """Keys and values of the running rows, in places 0 to B - 1.

    Args:
        places: R, the most rows at a time.

    Attributes:
        keys, values: for each layer (R, G, C, D).
        lengths: (B,) number of positions of each row.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.lengths: list[int] = []

    def enter(self, prompt: ReadPrompt) -> None:
        """Copies the states of a prompt into the next free place."""
        place, start = len(self.lengths), 0
        self.lengths.append(sum(part[0][0].shape[1] for part in prompt.parts))
        self._make_room(prompt)
        for part in prompt.parts:
            end = start + part[0][0].shape[1]
            for layer, (key, value) in enumerate(part):
                self.keys[layer][place, :, start:end] = key
                self.values[layer][place, :, start:end] = value
            start = end

    def leave(self, place: int) -> None:
        """Frees a place; the last row moves into it."""
        length = self.lengths[place] = self.lengths[-1]
        last = len(self.lengths) - 1
        if place != last:
            for states in (*self.keys, *self.values):
                states[place, :, :length] = states[last, :, :length]
        self.lengths.pop()

    def _make_room(self, prompt: ReadPrompt | None = None) -> None:
        """Grows the buffer, if needed, so that each row has room for one more position."""
        if prompt is not None and not self.keys:
            pairs = prompt.parts[0]
            self.keys, self.values = (
                [pair[i].new_zeros(self.places, pair[i].shape[0], 0, pair[i].shape[-1]) for pair in pairs]
                for i in (0, 1)
            )
        room = self.keys[0].shape[2]
        lacking = max(self.lengths) + 1 - room
        if lacking > 0:
            # Grows by at least half, because growing copies the buffer.
            more = -(-max(lacking, room // 2) // CHUNK) * CHUNK
            for kept in (self.keys, self.values):
                for layer in range(len(kept)):  # one by one, so that memory never holds two whole buffers
                    kept[layer] = pad(kept[layer], (0, 0, 0, more))

    def step(self) -> Step:
        """Makes room for one more position of each row; the next forward pass fills it."""
        self._make_room()
        step = Step(self)
        self.lengths = [length + 1 for length in self.lengths]
        return step


class Step(PackedRow):
    """The next position of each row, as a packed row of B sequences of one token."""

    def __init__(self, cache: RowCache) -> None:
        super().__init__([1] * len(cache.lengths))
        self.cache, self.starts = cache, list(cache.lengths)
        device = cache.keys[0].device
        self.row, self.place = torch.tensor([range(len(self.starts)), self.starts], device=device)
        self.longest = max(self.starts) + 1
        self.seen = (torch.arange(self.longest, device=device) <= self.place[:, None])[:, None, None]

    def positions(self) -> list[int]:
        """(B,) position of each new token."""
        return self.starts

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(1, H, B, D) queries, (1, G, B, D) keys and values -> (1, B, H, D)."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        # Layers may stand on several devices.
        row, place, shown = (x.to(keys.device) for x in (self.row, self.place, self.seen))
        keys[row, :, place] = key[0].transpose(0, 1)
        values[row, :, place] = value[0].transpose(0, 1)
        rows, groups = len(self.starts), key.shape[1]
        # Heads that share keys become queries of one head, so the keys are not copied for each head.
        grouped = query[0].transpose(0, 1).reshape(rows, groups, -1, query.shape[-1])
        seen = slice(rows), slice(None), slice(self.longest)
        out = scaled_dot_product_attention(grouped, keys[seen], values[seen], shown, scale=scale)
        return out.reshape(1, rows, -1, out.shape[-1])


def decode_running(
    lm: MemoryLM, writer: Writer, rows: Sequence[Row], reader: PromptReader, places: int
) -> Iterator[int]:
    """Decodes rows, at most `places` at a time. Yields after each step how many rows have finished in it.

    Args:
        lm: the model.
        writer: chooses the tokens.
        rows: in the order of the reader's prompts.
        reader: reads their prompts.
        places: the most rows to decode together.
    """
    unread, waiting = deque(rows), deque[tuple[Row, ReadPrompt]]()
    running: list[Row] = []
    cache = RowCache(min(places, len(rows)))
    while running or waiting or unread:
        while len(running) < places and (waiting or unread):
            if waiting:
                row, prompt = waiting.popleft()
                cache.enter(prompt)
                running.append(row)
                continue
            prompts = reader.wave()
            opened = [unread.popleft() for _ in prompts]
            going = writer.first(torch.stack([prompt.hidden for prompt in prompts]), opened)
            waiting += [
                pair for pair, goes in zip(zip(opened, prompts, strict=True), going, strict=True) if goes
            ]
            yield going.count(False)
        if not running:
            break
        ids = torch.tensor([row.ids[-1] for row in running], device=lm.device)
        going = writer.next(run_packed(lm.model, lm.lookup(ids), cache.step()), running)
        for place in reversed(range(len(running))):
            if not going[place]:
                cache.leave(place)
                running[place] = running[-1]
                running.pop()
        yield going.count(False)
