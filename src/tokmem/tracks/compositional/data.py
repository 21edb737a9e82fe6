"""Where the compositional track takes its tools and queries from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tokmem.config import changed, check_least, setting
from tokmem.data.calls.compose import CONNECTORS, Composed, ComposeSpec, compose, plain_query
from tokmem.data.calls.files import calls_path, descriptions_path, named_files, read_calls, read_descriptions
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.schema_check import check_schema
from tokmem.data.calls.xlam import EXCLUDED, XlamRows, rank_tools, read_xlam
from tokmem.data.corpus import SPLITS, Split
from tokmem.data.fields import did_you_mean
from tokmem.errors import ConfigError, DataError
from tokmem.log import logger
from tokmem.mini.tool_rows import check_generated, mini_tool_rows
from tokmem.records import Example

Source = Literal["generated", "xlam", "files"]
# Settings of `ToolDataConfig` on how queries are made.
_MAKING = (
    *("exclude", "samples_per_tool", "same_tool_share", "connectors", "seed"),
    *("train_multi_tool_ratios", "test_multi_tool_ratios"),
)
PerRound = int | tuple[int, ...]


@dataclass(frozen=True)
class ToolDataConfig:
    """Where tools and queries come from, and how many a round has; the defaults are the paper's."""

    source: Source = setting(
        "generated", "'generated' tools, rows in the columns of 'xlam', or 'files' of composed queries"
    )
    path: str = setting(
        "", "xlam: a file, or a data set's id on the hub; files: the folder that `tokmem data compose` wrote"
    )
    exclude: tuple[str, ...] = setting(
        EXCLUDED, "tools to leave out of the ranks, which close up (generated and xlam)"
    )
    samples_per_tool: int = setting(50, "rows of a tool to make queries from; 0: all (xlam)")
    more_tools: int = setting(0, "generated: twins beside the hundred tools, ranked from 101, to adapt on")
    train_size: int = setting(5000, "training queries a round")
    val_size: int = setting(100, "validation queries a round, to choose rates and the best rows by")
    test_size: int = setting(500, "test queries a round")
    max_samples: int | None = setting(None, "measure on the first so many test queries of a round")
    train_max_calls: int = setting(4, "most calls in a training query")
    test_max_calls: int = setting(4, "most calls in a test query")
    train_max_calls_per_round: tuple[int, ...] = setting((), "the same for each round")
    test_max_calls_per_round: tuple[int, ...] = setting((), "the same for each round")
    train_multi_tool_ratios: tuple[float, ...] = setting(
        (), "among training queries for several tools, shares of those for two, three, ...; none: equal"
    )
    test_multi_tool_ratios: tuple[float, ...] = setting((), "likewise for test queries")
    same_tool_share: float = setting(0.1, "among queries for several tools, share with a tool called again")
    connectors: tuple[str, ...] = setting(CONNECTORS, "put before each part of a query but the first")
    seed: int = setting(0, "of the queries")

    def __post_init__(self) -> None:
        if (self.source == "generated") == bool(self.path):
            raise ConfigError(
                f"source {self.source} with path {self.path!r}",
                "a path for xlam and files, none for generated tools",
            )
        check_least(vars(self), {"more_tools": 0})
        if self.source == "generated":
            check_generated(self.samples_per_tool)
        elif self.more_tools:
            raise ConfigError(
                f"more_tools {self.more_tools} with source {self.source}", "0: only generated tools have more"
            )
        if self.source == "files":
            self._check_files()
        if self.max_samples is not None and self.max_samples < 1:
            raise ConfigError(f"max_samples {self.max_samples}", "at least 1")
        lists = [x for x in (self.train_max_calls_per_round, self.test_max_calls_per_round) if x]
        for index in range(min(map(len, lists), default=1)):
            self.spec(index)  # refuses what is out of range

    def _check_files(self) -> None:
        """Refuses settings on how queries are made: those in files are made already."""
        for name in changed(self, _MAKING):
            raise ConfigError(
                f"{name} {getattr(self, name)!r} with source files",
                "none: the queries of files are made already",
                f"make them with `tokmem data compose --{name.replace('_', '-')}`",
            )

    def spec(self, round_index: int, train_max_calls: int | None = None) -> ComposeSpec:
        """How a round's queries are made; `train_max_calls` replaces the configured limit."""
        return ComposeSpec(
            train_size=self.train_size,
            val_size=self.val_size,
            test_size=self.test_size,
            train_max_calls=train_max_calls
            or of_round(self.train_max_calls_per_round or self.train_max_calls, round_index),
            test_max_calls=of_round(self.test_max_calls_per_round or self.test_max_calls, round_index),
            samples_per_tool=self.samples_per_tool,
            train_multi_tool_ratios=self.train_multi_tool_ratios,
            test_multi_tool_ratios=self.test_multi_tool_ratios,
            same_tool_share=self.same_tool_share,
            connectors=self.connectors,
            seed=self.seed,
        )


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
            made = _from_files(Path(self.config.path), tools[0], spec)
        else:
            raise ConfigError(f"tools {named} of source files", "one range: a file has the queries of one")
        for tool in made.procedures:
            check_schema(tool)
        _check_rows(made, named)
        return replace(made, test=made.test[: self.config.max_samples])


def _from_files(folder: Path, tools: ToolRange, spec: ComposeSpec) -> Composed:
    """Reads the queries of a range that `tokmem data compose` wrote, or the folder's single pair of files.

    Without a file of validation queries, the last training queries are held out.
    """
    chosen = tools if _has_own_files(folder, tools, spec) else None

    def path(split: Split) -> Path:
        return calls_path(folder, split, chosen, spec.max_calls(split))

    train = read_calls(path("train"))
    held: tuple[Example, ...] = ()
    if path("validation").is_file():
        held = _first(path("validation"), spec.val_size)
    elif spec.val_size:
        train, held = _held_out(train, spec.val_size, path("train"))
    test = _first(path("test"), spec.test_size) if spec.test_size else ()
    train = _at_most(train, spec.train_size, path("train"))
    _warn_of_overlap({"training": train, "validation": held, "test": test}, path("test"))
    described = read_descriptions(descriptions_path(folder, chosen))
    if chosen is None and len(described) != len(tools):
        raise DataError(
            f"{descriptions_path(folder, None)}: {len(described)} tools",
            f"the {len(tools)} of tools {tools}",
            "name the range that the files were made for",
        )
    return Composed(described, train, held, test)


def _held_out(
    train: tuple[Example, ...], size: int, path: Path
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The training queries without the last `size`, and the last `size`."""
    if len(train) <= size:
        raise DataError(
            f"{path}: {len(train)} queries, {size} of which are to be held out",
            "more than val_size",
            "lower val_size, or add a file of validation queries",
        )
    logger.warning(
        "%s: no file of validation queries; the last %d for training are held out, and parts of them may "
        "stand in others (`tokmem data compose --val-size` makes some of rows of their own)",
        *(path, size),
    )
    return train[:-size], train[-size:]


def _first(path: Path, size: int) -> tuple[Example, ...]:
    return _at_most(read_calls(path), size, path)


def _at_most(examples: tuple[Example, ...], size: int, path: Path) -> tuple[Example, ...]:
    """The first `size` examples; warns if there are fewer."""
    if len(examples) < size:
        logger.warning("%s: %d queries, and not the %d that were asked for", path, len(examples), size)
    return examples[:size]


def _warn_of_overlap(parts: Mapping[str, Sequence[Example]], path: Path) -> None:
    """Warns of queries that stand in two parts: they are no unseen test queries."""
    home: dict[str, str] = {}
    twice: Counter[tuple[str, str]] = Counter()
    for part, examples in parts.items():
        for example in examples:
            first = home.setdefault(plain_query(example.query), part)
            twice[part, first] += first != part
    for (part, first), count in (+twice).items():
        logger.warning("%s: %d %s queries are %s queries too", path, count, part, first)


def _has_own_files(folder: Path, tools: ToolRange, spec: ComposeSpec) -> bool:
    """Whether a range has files of its own name. Files of another range never replace them.

    Raises:
        DataError: it has none, but there are files of another range or number of calls, or none at all.
    """
    wanted = calls_path(folder, "train", tools, spec.train_max_calls)
    if wanted.is_file():
        return True
    found = [str(path.relative_to(folder)) for path in named_files(folder)]
    if found:
        raise DataError(
            f"no {wanted}; there are {', '.join(found[:6])}{', ...' if found[6:] else ''}",
            "the file of these tools and this number of calls",
            "name a range and a number of calls that are there, or make theirs with `tokmem data compose`",
        )
    if not calls_path(folder, "train", None, spec.train_max_calls).is_file():
        raise DataError(
            f"no {wanted}",
            "the folder that `tokmem data compose` wrote, or one with the single pair of files",
            "check the path, or make the files",
        )
    return False


def _check_rows(made: Composed, tools: str) -> None:
    """Refuses a tool that no query calls, and a call of a tool outside the round."""
    names = {tool.name for tool in made.procedures}
    called = {turn.procedure for example in made.train for turn in example.turns}
    idle = sorted(names - called)
    if idle:
        raise DataError(
            f"tools {tools}: no training query calls {idle[0]!r}",
            "at least one for each tool",
            "raise train_size or samples_per_tool, or leave the tool out",
        )
    for split in SPLITS:
        for example in made.examples(split):
            unknown = next((t.procedure for t in example.turns if t.procedure not in names), None)
            if unknown is not None:
                raise DataError(
                    f"tools {tools}: {split} query {example.id!r} calls {unknown!r}"
                    f"{did_you_mean(unknown, names)}",
                    "a tool of its round",
                    "mend the files",
                )
