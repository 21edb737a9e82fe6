"""Where the compositional track takes its tools and queries from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from tokmem.config import Config, changed, check_least, setting
from tokmem.data.calls.compose import CONNECTORS, Composed, ComposeSpec, compose
from tokmem.data.calls.portion import check_portion, read_portion
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.schema_check import check_schema
from tokmem.data.calls.xlam import EXCLUDED, XlamRows, rank_tools, read_xlam
from tokmem.errors import ConfigError
from tokmem.mini.tool_rows import check_generated, mini_tool_rows

Source = Literal["generated", "xlam", "files"]
# Settings of `ToolDataConfig` on how queries are made.
_MAKING = (
    *("exclude", "samples_per_tool", "same_tool_share", "connectors", "seed"),
    *("train_multi_tool_ratios", "test_multi_tool_ratios"),
)
PerRound = int | tuple[int, ...]


@dataclass(frozen=True)
class ToolDataConfig(Config):
    """Where tools and queries come from, and how many a round has; the defaults are the paper's."""

    source: Source = setting(
        "generated", "'generated' tools, rows in the columns of 'xlam', or 'files' of composed queries"
    )
    path: str = setting(
        "", "xlam: a file, or a data set's id on the hub; files: the folder that `tokmem data compose` wrote"
    )
    exclude: tuple[str, ...] = setting(
        EXCLUDED, "tools to leave out; later tools move up in rank (generated and xlam)"
    )
    samples_per_tool: int = setting(50, "rows of a tool to make queries from; 0: all (xlam)")
    more_tools: int = setting(0, "generated: twins of the hundred tools, ranked from 101, to adapt on")
    train_size: int = setting(5000, "training queries of each round")
    val_size: int = setting(100, "validation queries of each round, to choose rates and rows by")
    test_size: int = setting(500, "test queries of each round")
    max_samples: int | None = setting(None, "test queries of a round to measure on; none: all")
    train_max_calls: int = setting(4, "most calls in a training query")
    test_max_calls: int = setting(4, "most calls in a test query")
    train_max_calls_per_round: tuple[int, ...] = setting((), "train_max_calls of each round")
    test_max_calls_per_round: tuple[int, ...] = setting((), "test_max_calls of each round")
    train_multi_tool_ratios: tuple[float, ...] = setting(
        (), "among training queries for several tools, shares of those for two, three, ...; none: equal"
    )
    test_multi_tool_ratios: tuple[float, ...] = setting((), "the same shares among test queries")
    same_tool_share: float = setting(0.1, "among queries for several tools, share that calls a tool twice")
    connectors: tuple[str, ...] = setting(CONNECTORS, "put before each part of a query but the first")
    seed: int = setting(0, "of the queries")

    def __post_init__(self) -> None:
        if (self.source == "generated") == bool(self.path):
            raise ConfigError(
                f"source {self.source} with path {self.path!r}",
                "a path for xlam and files, none for generated tools",
            )
        check_least(vars(self), {"more_tools": 0, "max_samples": 1})
        if self.source == "generated":
            check_generated(self.samples_per_tool)
        elif self.more_tools:
            raise ConfigError(
                f"more_tools {self.more_tools} with source {self.source}", "0: only generated tools have more"
            )
        for name in changed(self, _MAKING) if self.source == "files" else ():
            raise ConfigError(
                f"{name} {getattr(self, name)!r} with source files",
                "none: the queries of files are made already",
                f"make them with `tokmem data compose --{name.replace('_', '-')}`",
            )
        lists = [x for x in (self.train_max_calls_per_round, self.test_max_calls_per_round) if x]
        for index in range(min(map(len, lists), default=1)):
            self.spec(index)  # refuses what is out of range

    def spec(self, round_index: int, train_max_calls: int | None = None) -> ComposeSpec:
        """How a round's queries are made; `train_max_calls` replaces the configured limit."""
        same = {one.name: getattr(self, one.name) for one in fields(ComposeSpec)}
        limits = {
            "train_max_calls": train_max_calls
            or of_round(self.train_max_calls_per_round or self.train_max_calls, round_index),
            "test_max_calls": of_round(self.test_max_calls_per_round or self.test_max_calls, round_index),
        }
        return ComposeSpec(**{**same, **limits})


def of_round(value: PerRound, round_index: int) -> int:
    """A setting's value in a round, counted from 0."""
    return value if isinstance(value, int) else value[round_index]


class ToolSource:
    """Where tools and their queries come from, read once.

    Args:
        config: the section of the experiment.

    Raises:
        DataError: the rows cannot be read.
    """

    def __init__(self, config: ToolDataConfig) -> None:
        self.config = config
        self.rows: XlamRows | None = None
        if config.source == "generated":
            self.rows = mini_tool_rows(config.samples_per_tool, config.seed, config.more_tools)
        elif config.source == "xlam":
            self.rows = read_xlam(config.path)
        self.ranked = rank_tools(self.rows.rows, config.exclude) if self.rows else ()

    @property
    def broken(self) -> dict[str, int]:
        """Rows that could not be used, by reason."""
        return dict(self.rows.broken) if self.rows else {}

    def composed(self, tools: Sequence[ToolRange], spec: ComposeSpec) -> Composed:
        """The queries of one or more ranges of tools.

        Raises:
            ConfigError: files of queries are for one range each.
            DataError: a tool has no rows or no valid schema, or a file of queries names others.
        """
        named = ",".join(map(str, tools))
        if self.rows:
            chosen = [tool for part in tools for tool in part.select(self.ranked)]
            made = compose(self.rows.rows, chosen, spec)
        elif len(tools) == 1:
            made = read_portion(Path(self.config.path), tools[0], spec)
        else:
            raise ConfigError(f"tools {named} of source files", "one range: a file has the queries of one")
        for tool in made.procedures:
            check_schema(tool)
        check_portion(made, named)
        return replace(made, test=made.test[: self.config.max_samples])
