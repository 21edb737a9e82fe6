"""Experience replay: a uniform sample of everything seen, and an order that mixes it into what is new."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from tokmem.data.jsonl import example_from_json, example_to_json
from tokmem.data.stream import MicroBatch, Stream, seen
from tokmem.errors import ConfigError
from tokmem.records import Example
from tokmem.seeds import stream


def check_ratio(ratio: float) -> None:
    """Refuses an impossible share of replayed examples.

    Raises:
        ConfigError: the share is below 0, or leaves nothing for new examples.
    """
    if not 0 <= ratio < 1:
        raise ConfigError(f"replay ratio {ratio}", "a share of all examples, from 0 to below 1", "correct it")


class Reservoir:
    """A uniform sample of all examples ever added, whatever their number (Algorithm R, Vitter 1985).

    Args:
        size: the most examples to keep.
        seed: seeds the draws.

    Attributes:
        examples: the kept examples.
        seen: how many were added.

    Raises:
        ConfigError: `size` is not positive.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ConfigError(f"buffer size {size}", "at least 1 example", "raise it")
        self.size, self.seed = size, seed
        self.examples: list[Example] = []
        self.seen = 0

    def add(self, examples: Sequence[Example]) -> None:
        """Offers a block of examples; every example seen so far is kept with equal probability."""
        rng = stream(self.seed, "reservoir", self.seen)
        for example in examples:
            self.seen += 1
            if len(self.examples) < self.size:
                self.examples.append(example)
            elif (place := rng.randrange(self.seen)) < self.size:
                self.examples[place] = example

    def state(self) -> dict[str, Any]:
        """Returns what `restore` takes, ready for JSON."""
        return {"seen": self.seen, "examples": [example_to_json(example) for example in self.examples]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores a `state`; the next `add` is the one that would have followed it."""
        self.examples = [example_from_json(raw, f"reservoir[{i}]") for i, raw in enumerate(state["examples"])]
        self.seen = state["seen"]


@dataclass(frozen=True)
class ReplayOrder:
    """Keeps the order of the new examples and spreads the kept ones evenly among them.

    With q = ratio / (1 - ratio), floor(k q + u) kept examples precede or follow directly the k-th new one,
    counted over all epochs: never more than one away from the exact share. u is uniform in [0, 1) and drawn
    once a stage, so the share is exact on average even if a stage is very short. Kept examples are
    additional: every new example occurs once an epoch. Each epoch draws its own kept examples and repeats
    none before it has drawn them all.

    Attributes:
        new: order of the new examples, at indices 0 to `new.count` - 1.
        kept: how many examples may be replayed, at the indices after those; with none the order is `new`'s.
        ratio: share of replayed examples among all, from 0 to below 1.
        stage: number of the stage; each stage draws its own.
    """

    new: Stream
    kept: int
    ratio: float
    stage: int = 0

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def windows(self) -> list[tuple[int, ...]]:
        """The windows of the new examples; none if replayed examples stand among them."""
        return [] if self._replays else self.new.windows()

    def epoch(self, number: int) -> list[MicroBatch]:
        """Yields the micro-batches of an epoch, in order."""
        batches = self.new.epoch(number)
        if not self._replays:
            return batches
        mixed = self._mix([i for batch in batches for i in batch.indices], number)
        size = self.new.batch_size
        return [MicroBatch(None, tuple(mixed[i : i + size])) for i in range(0, len(mixed), size)]

    def totals(self, steps: int, accumulation: int) -> tuple[int, int]:
        """Counts new and replayed examples in `steps` optimizer steps of `accumulation` micro-batches."""
        fresh = [i < self.new.count for i in seen(self, steps, accumulation)]
        return sum(fresh), len(fresh) - sum(fresh)

    @property
    def _replays(self) -> bool:
        return self.kept > 0 and self.ratio > 0

    def _mix(self, new: Sequence[int], epoch: int) -> list[int]:
        phase = stream(self.new.seed, "replay phase", self.stage).random()
        draws = _turns(self.kept, stream(self.new.seed, "replay", self.stage, epoch))
        share = self.ratio / (1 - self.ratio)
        first = epoch * len(new)
        due = math.floor(first * share + phase)
        mixed = []
        for done, index in enumerate(new, first + 1):
            before, due = due, math.floor(done * share + phase)
            mixed += [index, *(self.new.count + i for i in islice(draws, due - before))]
        return mixed


def _turns(count: int, rng: Random) -> Iterator[int]:
    """Yields 0 to `count` - 1 in random order, again and again."""
    while True:
        order = list(range(count))
        rng.shuffle(order)
        yield from order
