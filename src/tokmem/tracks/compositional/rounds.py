"""Rounds of the compositional track: which tools come when, and with which queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokmem.config import Config, changed, setting
from tokmem.data.calls.compose import Composed
from tokmem.data.calls.portion import check_new_tools
from tokmem.data.calls.ranges import ToolRange, consecutive_ranges, parse_rounds
from tokmem.errors import ConfigError
from tokmem.tracks.compositional.data import PerRound, ToolDataConfig, ToolSource, of_round


@dataclass(frozen=True)
class RoundsConfig(Config):
    """Disjoint ranges of tools, learned one after another."""

    training_rounds: str = setting("", "ranges and epochs, such as 1-50:1,51-100:3; replaces what follows")
    tools: str = setting("", "one round of these tools, such as 51-100; replaces the next three")
    num_rounds: int = setting(1, "number of rounds")
    tools_per_round: int = setting(50, "tools in a round")
    start_tool: int = setting(51, "rank of the first tool, counted from 1")
    epochs_per_round: PerRound = setting(
        1, "passes over a round's queries: a number, or a list with one for each round"
    )
    curriculum_learning: bool = setting(False, "queries with fewer calls come first, unshuffled")
    eval_all_previous: bool = setting(True, "after each round, measure all earlier rounds too")

    def __post_init__(self) -> None:
        if self.training_rounds and self.tools:
            raise ConfigError(
                f"training_rounds {self.training_rounds!r} and tools {self.tools!r}", "one of them"
            )
        self._check_unused()
        epochs = self.epochs_per_round
        if min((epochs,) if isinstance(epochs, int) else epochs, default=0) < 1:
            raise ConfigError(f"epochs_per_round {epochs}", "at least 1")
        self.plan()

    def _check_unused(self) -> None:
        """Refuses settings that another setting overrides."""
        given = "training_rounds" if self.training_rounds else "tools"
        counted = ("num_rounds", "tools_per_round", "start_tool")
        unused = [*counted, "epochs_per_round"] if self.training_rounds else counted if self.tools else []
        for name in changed(self, unused):
            raise ConfigError(
                f"{given} {getattr(self, given)!r} and {name} {getattr(self, name)}",
                "one of them",
                f"leave one out; `{given}: ''` takes that of a file away",
            )

    def plan(self) -> tuple[tuple[ToolRange, int], ...]:
        """The ranges and their epochs, in order.

        Raises:
            ConfigError: they are malformed, overlap, or have no epochs.
        """
        if self.training_rounds:
            return parse_rounds(self.training_rounds)
        ranges = (
            (ToolRange.parse(self.tools),)
            if self.tools
            else consecutive_ranges(self.start_tool, self.tools_per_round, self.num_rounds)
        )
        check_per_round("epochs_per_round", self.epochs_per_round, len(ranges))
        return tuple((tools, of_round(self.epochs_per_round, i)) for i, tools in enumerate(ranges))


@dataclass(frozen=True)
class Round:
    """A round and its queries.

    Attributes:
        tools: the range of its tools.
        epochs: passes over its training queries.
        data: its tools and queries.
    """

    tools: ToolRange
    epochs: int
    data: Composed


def check_per_round(name: str, value: PerRound, rounds: int) -> None:
    """Refuses a list whose length differs from the number of rounds.

    Raises:
        ConfigError: it differs.
    """
    if not isinstance(value, int) and value and len(value) != rounds:
        raise ConfigError(f"{name} {list(value)} for {rounds} rounds", f"{rounds} values, or one number")


def make_rounds(
    config: RoundsConfig, data: ToolDataConfig, source: ToolSource, train_max_calls: int | None
) -> tuple[Round, ...]:
    """The rounds with their queries.

    Args:
        config: which tools come when.
        data: how many queries a round has.
        source: makes them.
        train_max_calls: most calls in a training query, in every round; None takes the limits in `data`.

    Raises:
        DataError: a round's queries cannot be made, or two rounds share a tool.
    """
    rounds = [
        Round(tools, epochs, source.composed((tools,), data.spec(index, train_max_calls)))
        for index, (tools, epochs) in enumerate(config.plan())
    ]
    check_new_tools({str(one.tools): one.data for one in rounds})
    return tuple(_by_calls(one) if config.curriculum_learning else one for one in rounds)


def _by_calls(one: Round) -> Round:
    """The round with its training queries in ascending order of their calls."""
    train = sorted(one.data.train, key=lambda example: len(example.turns))
    return replace(one, data=replace(one.data, train=tuple(train)))


def checksum(rounds: Sequence[Round]) -> str:
    """sha256 (hex) of all tools and queries."""
    return hashlib.sha256(repr([one.data for one in rounds]).encode()).hexdigest()
