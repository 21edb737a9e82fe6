"""The order in which training sees its examples: seeded, resumable at any step, independent of any cache.

Examples are dealt once into fixed windows. Each epoch shuffles the windows, and the examples within each. A
window is the unit in which query prefixes are computed and kept: the same examples in the same padded batches
in every epoch, whatever is cached and wherever a run is resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from tokmem.seeds import stream


@dataclass(frozen=True)
class MicroBatch:
    """Indices of the examples of a micro-batch, and the window that holds them all, or None."""

    window: int | None
    indices: tuple[int, ...]


class Order(Protocol):
    """Decides which examples come when. Its `repr` differs from that of every other order."""

    def windows(self) -> list[tuple[int, ...]]:
        """The examples of each window; the same in every epoch."""

    def epoch(self, number: int) -> list[MicroBatch]:
        """Yields the micro-batches of an epoch, in order."""


def optimizer_steps(order: Order, epoch: int, accumulation: int) -> list[list[MicroBatch]]:
    """Groups an epoch's micro-batches, `accumulation` to an optimizer step; the last step may have fewer."""
    batches = order.epoch(epoch)
    return [batches[i : i + accumulation] for i in range(0, len(batches), accumulation)]


def seen(order: Order, steps: int, accumulation: int) -> Iterator[int]:
    """Yields the index of each example in `steps` optimizer steps of `accumulation` micro-batches each."""
    epoch = 0
    while steps > 0:
        groups = optimizer_steps(order, epoch, accumulation)[:steps]
        yield from (i for group in groups for batch in group for i in batch.indices)
        steps, epoch = steps - len(groups), epoch + 1


def returning(batches: Iterable[MicroBatch]) -> set[int]:
    """The windows that micro-batches come back to after another window."""
    visits = Counter(window for window, _ in groupby(batch.window for batch in batches))
    return {window for window, count in visits.items() if window is not None and count > 1}


@dataclass(frozen=True)
class Stream:
    """The order of `count` examples over epochs.

    Attributes:
        count: number of examples.
        batch_size: examples in a micro-batch.
        window: examples in a window; rounded down to a multiple of the batch size.
        shuffle: whether to shuffle; if not, every epoch takes the examples in their given order.
        seed: seeds the shuffling.
    """

    count: int
    batch_size: int
    window: int
    shuffle: bool
    seed: int

    def windows(self) -> list[tuple[int, ...]]:
        """The examples of each window; the same in every epoch."""
        order = list(range(self.count))
        if self.shuffle:
            stream(self.seed, "windows").shuffle(order)
        size = max(self.batch_size, self.window // self.batch_size * self.batch_size)
        return [tuple(order[i : i + size]) for i in range(0, self.count, size)]

    def epoch(self, number: int) -> list[MicroBatch]:
        """Yields the micro-batches of an epoch, in order; a window's last one may be short."""
        windows = self.windows()
        order = list(range(len(windows)))
        rng = stream(self.seed, "epoch", number)
        if self.shuffle:
            rng.shuffle(order)
        batches = []
        for window in order:
            indices = list(windows[window])
            if self.shuffle:
                rng.shuffle(indices)
            size = self.batch_size
            batches += [
                MicroBatch(window, tuple(indices[i : i + size])) for i in range(0, len(indices), size)
            ]
        return batches


@dataclass(frozen=True)
class SideBySide:
    """The order of procedures that train independently: each step takes one example of every procedure.

    Example k of procedure p has index p * count + k. All procedures take their examples in the same order of
    k, which does not depend on how many procedures there are.

    Attributes:
        procedures: number of procedures.
        count: number of examples of each procedure.
        window: examples in a window, rounded down to a multiple of the number of procedures.
        shuffle: whether to shuffle; if not, every epoch takes the examples in their given order.
        seed: seeds the shuffling.
    """

    procedures: int
    count: int
    window: int
    shuffle: bool
    seed: int

    def windows(self) -> list[tuple[int, ...]]:
        """The examples of each window; the same in every epoch."""
        turns = range(self.count)
        return [self._examples(turns[i : i + self._turns]) for i in range(0, self.count, self._turns)]

    def epoch(self, number: int) -> list[MicroBatch]:
        """Yields the micro-batches of an epoch, in order; each is a whole step."""
        order = list(range(self.count))
        if self.shuffle:
            stream(self.seed, "side by side", number).shuffle(order)
        return [MicroBatch(k // self._turns, self._examples([k])) for k in order]

    @property
    def _turns(self) -> int:
        """How many examples of each procedure a window holds."""
        return max(1, self.window // self.procedures)

    def _examples(self, turns: Sequence[int]) -> tuple[int, ...]:
        return tuple(p * self.count + k for k in turns for p in range(self.procedures))
