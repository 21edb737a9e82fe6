"""Composes queries for several tools from rows that call one tool each.

Each split has rows of its own: no row serves two splits, and neither do two rows with the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tokmem.config import Config
from tokmem.data.calls.even_sampling import EvenSampler, RowSampler, Sources
from tokmem.data.calls.join_queries import Joiner
from tokmem.data.calls.schema_check import check_schema
from tokmem.data.calls.text import arguments_json
from tokmem.data.calls.xlam import XlamRow
from tokmem.data.corpus import SPLITS, Split, content_rank
from tokmem.errors import ConfigError, DataError
from tokmem.log import logger
from tokmem.records import Example, Procedure, Turn
from tokmem.seeds import stream

CONNECTORS = ("Also,", "Then,", "Next,", "After that,", "In addition,")
_HELD_SHARE = 0.1  # share of a tool's rows for test, and for validation
_TRIES = 200  # tries to make a query that was not made before


@dataclass(frozen=True)
class ComposeSpec(Config):
    """How many queries to make, and of which kind.

    Attributes:
        train_size: number of training queries. Single rows are used as they are for at most half of the
            queries; the others are composed. Without queries for several tools, all of them may be single
            rows.
        val_size: number of validation queries, made as the training queries are.
        test_size: number of test queries, each for several tools if `test_max_calls` allows it.
        train_max_calls: the most calls in a training or validation query.
        test_max_calls: the most calls in a test query.
        samples_per_tool: rows of a tool to use, for all splits together; 0 takes all.
        train_multi_tool_ratios: shares of the training queries for two, three, ... different tools. Shares
            for more tools than the most calls are dropped, and the rest are scaled to the sum 1. An empty
            tuple gives equal shares to every number of tools from two to the most calls.
        test_multi_tool_ratios: the same for test queries.
        same_tool_share: share of the queries that call one of their tools more than once, among the queries
            for several tools with room for another call. A row with several calls serves if there is one,
            else two rows with one call.
        connectors: texts to put before each query but the first.
        seed: seeds the split into training, validation and test, and every draw.

    Raises:
        ConfigError: a value is out of range.
    """

    train_size: int = 5000
    val_size: int = 0
    test_size: int = 500
    train_max_calls: int = 4
    test_max_calls: int = 4
    samples_per_tool: int = 50
    train_multi_tool_ratios: tuple[float, ...] = ()
    test_multi_tool_ratios: tuple[float, ...] = ()
    same_tool_share: float = 0.1
    connectors: tuple[str, ...] = CONNECTORS
    seed: int = 0

    def __post_init__(self) -> None:
        least = dict.fromkeys(("train_size", "val_size", "test_size", "samples_per_tool"), 0)
        for name, low in {**least, "train_max_calls": 1, "test_max_calls": 1}.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} {getattr(self, name)}", f"at least {low}")
        for kind, most in (("train", self.train_max_calls), ("test", self.test_max_calls)):
            ratios = getattr(self, f"{kind}_multi_tool_ratios")
            if ratios and (min(ratios) < 0 or (most > 1 and not sum(ratios[: most - 1]) > 0)):
                got = f"{kind}_multi_tool_ratios {ratios} with at most {most} calls"
                raise ConfigError(got, "shares of 2, 3, ... tools, from 0 up, not all of them 0")
        if not 0 <= self.same_tool_share <= 1:
            raise ConfigError(f"same_tool_share {self.same_tool_share}", "a share from 0 to 1")
        if not self.connectors or not all(connector.strip() for connector in self.connectors):
            raise ConfigError(f"connectors {self.connectors}", "at least one, and none blank")

    def size(self, split: Split) -> int:
        """Returns the number of queries of a split."""
        return {"train": self.train_size, "validation": self.val_size, "test": self.test_size}[split]

    def max_calls(self, split: Split) -> int:
        """Returns the most calls in a query of a split."""
        return self.test_max_calls if split == "test" else self.train_max_calls

    def shares(self, split: Split, num_tools: int) -> dict[int, float]:
        """Returns the share of queries for each number of different tools; shares sum to 1, or are empty."""
        ratios = self.test_multi_tool_ratios if split == "test" else self.train_multi_tool_ratios
        most = min(self.max_calls(split), num_tools)
        given = dict(enumerate(ratios or [1.0] * (most - 1), start=2))
        kept = {number: ratio for number, ratio in given.items() if number <= most and ratio > 0}
        return {number: ratio / sum(kept.values()) for number, ratio in kept.items()}


@dataclass(frozen=True)
class Composed:
    """Tools and the queries that call them.

    Attributes:
        procedures: the tools, in the order of their ranks.
        train: training examples. The turns of an example are its calls, in the order of its query; its id
            joins the ids of its rows.
        validation: validation examples.
        test: test examples.
    """

    procedures: tuple[Procedure, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    def examples(self, split: Split) -> tuple[Example, ...]:
        """Returns the examples of one split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def compose(rows: Iterable[XlamRow], tools: Sequence[Procedure], spec: ComposeSpec) -> Composed:
    """Makes training, validation and test queries for some tools.

    A tool's own rows are those that call it and no other tool. Test takes a tenth of them, validation another
    tenth if any is wanted, each at least one row; training takes the rest. The queries and the seed decide
    which rows go where; the sizes do not.

    Args:
        rows: rows of all tools; a query that stands twice counts once.
        tools: the tools to use, in the order of their ranks.
        spec: how many queries to make, and of which kind.

    Returns:
        The tools and their queries.

    Raises:
        DataError: a tool stands twice or has too few rows, or there are too few rows for so many different
            queries.
    """
    usable = _usable_rows(rows, [tool.name for tool in tools])
    joiner = Joiner(row.query for own in usable.values() for row in own)
    splits: dict[Split, dict[str, tuple[XlamRow, ...]]] = {split: {} for split in SPLITS}
    for name, own in usable.items():
        for split, part in _split(name, own, spec).items():
            splits[split][name] = part
    _require_disjoint(splits)
    made = {split: _examples(split, splits[split], spec, joiner) for split in SPLITS}
    return Composed(tuple(tools), made["train"], made["validation"], made["test"])


def _usable_rows(rows: Iterable[XlamRow], names: Sequence[str]) -> dict[str, list[XlamRow]]:
    """Collects the rows that call one of the tools and no other tool, each query once."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"tool {twice!r} stands twice", "each tool once", "remove one")
    usable: dict[str, list[XlamRow]] = {name: [] for name in names}
    seen: set[str] = set()
    for row in rows:
        key = plain_query(row.query)
        if row.tool in usable and key not in seen:
            seen.add(key)
            usable[row.tool].append(row)
    return usable


def plain_query(query: str) -> str:
    """Normalises a query for comparison: no upper case, single blanks, no marks at its end."""
    return " ".join(query.casefold().split()).rstrip(".!? ")


def _split(name: str, rows: Sequence[XlamRow], spec: ComposeSpec) -> dict[Split, tuple[XlamRow, ...]]:
    """Splits a tool's rows; rows with one call and rows with several are split separately."""
    ranked = sorted(rows, key=lambda row: content_rank(str(spec.seed), row.query))
    ranked = ranked[: spec.samples_per_tool or None]
    single = [row for row in ranked if len(row.calls) == 1]
    needed = sum(spec.size(split) > 0 for split in SPLITS)
    if len(single) < needed:
        raise DataError(
            f"tool {name!r} has {len(single)} rows with one call",
            f"at least {needed}, one for each split that is wanted",
            "leave the tool out, raise samples_per_tool, or read more rows",
        )
    parts: dict[Split, tuple[XlamRow, ...]] = {"train": (), "validation": (), "test": ()}
    for kind, least in ((single, 1), ([row for row in ranked if len(row.calls) > 1], 0)):
        rest = kind
        for split in ("test", "validation"):
            count = max(round(_HELD_SHARE * len(kind)), least) if spec.size(split) else 0
            parts[split] += tuple(rest[:count])
            rest = rest[count:]
        parts["train"] += tuple(rest)
    return parts


def _require_disjoint(splits: Mapping[Split, Sources]) -> None:
    """Refuses a query that two splits would use."""
    home: dict[str, Split] = {}
    for split, sources in splits.items():
        for row in (row for own in sources.values() for row in own):
            if home.setdefault(plain_query(row.query), split) != split:
                other = home[plain_query(row.query)]
                raise DataError(f"{row.query!r} is in {split} and {other}", "one of them")


def _examples(split: Split, sources: Sources, spec: ComposeSpec, joiner: Joiner) -> tuple[Example, ...]:
    """Makes the queries of one split, in random order."""
    size, shares = spec.size(split), spec.shares(split, len(sources))
    if not size:
        return ()
    if not shares and min(spec.max_calls(split), len(sources)) > 1:
        raise DataError(
            f"{split}: no ratio above 0 for up to {min(spec.max_calls(split), len(sources))} tools a query",
            "ratios for numbers of tools and calls that exist",
            "raise a ratio of fewer tools, take more tools, or allow more calls",
        )
    rng = stream(spec.seed, "compose", split)
    most_alone = size if not shares else 0 if split == "test" else size // 2
    alone = [(row,) for row in _single_rows(sources, spec.max_calls(split), rng)[:most_alone]]
    groups = alone + _grouped_rows(split, sources, spec, size - len(alone), rng)
    if len(groups) < size:
        logger.warning("%s: %d queries of %d, because there are no more rows", split, len(groups), size)
    rng.shuffle(groups)
    return tuple(_example(group, spec.connectors, joiner, rng) for group in groups)


def _single_rows(sources: Sources, max_calls: int, rng: Random) -> list[XlamRow]:
    """Collects single rows: the first row of every tool, then the second of every tool, and so on."""
    piles = [rng.sample(own, len(own)) for own in sources.values()]
    turns = max(map(len, piles))
    rows = [pile[place] for place in range(turns) for pile in piles if place < len(pile)]
    return [row for row in rows if len(row.calls) <= max_calls]


def _grouped_rows(
    split: Split, sources: Sources, spec: ComposeSpec, size: int, rng: Random
) -> list[tuple[XlamRow, ...]]:
    """Draws groups of rows for queries that call several tools; no group occurs twice."""
    sampler, max_calls = RowSampler(sources, rng), spec.max_calls(split)
    groups: dict[frozenset[str], tuple[XlamRow, ...]] = {}
    for number, same_tool in _plan(spec.shares(split, len(sources)), size, max_calls, spec.same_tool_share):
        for _ in range(_TRIES):
            rows = sampler.draw(number, max_calls, same_tool=same_tool)
            key = frozenset(row.id for row in rows or ())
            if rows and key not in groups:
                groups[key] = tuple(rows)
                break
        else:
            kind = f"{number} tools" + (", one of them called again" if same_tool else "")
            raise DataError(
                f"{split}: {len(groups)} different queries, and no further one for {kind}",
                f"{size} of them",
                "ask for fewer queries, use more tools, or raise samples_per_tool",
            )
    return list(groups.values())


def _plan(
    shares: Mapping[int, float], size: int, max_calls: int, same_tool_share: float
) -> list[tuple[int, bool]]:
    """Plans each query: the number of its tools, and whether it calls one of them again."""
    plan: list[tuple[int, bool]] = []
    up_to, roomy = 0.0, 0
    for number, share in shares.items():
        up_to += share
        count = round(up_to * size) - len(plan)
        before, roomy = roomy, roomy + (count if number < max_calls else 0)
        again = round(same_tool_share * roomy) - round(same_tool_share * before)
        plan += [(number, place < again) for place in range(count)]
    return plan


def _example(rows: Sequence[XlamRow], connectors: Sequence[str], joiner: Joiner, rng: Random) -> Example:
    sampler = EvenSampler(connectors, rng)
    chosen = [sampler.draw(1)[0] for _ in rows[1:]]
    turns = tuple(Turn(call.name, arguments_json(call.arguments)) for row in rows for call in row.calls)
    return Example(joiner.join(rows, chosen), turns, id="+".join(row.id for row in rows))


def compose_ranges(
    rows: Sequence[XlamRow], tools: Sequence[Sequence[Procedure]], specs: Sequence[ComposeSpec]
) -> list[Composed]:
    """Composes the queries of several groups of tools; checks all schemas first.

    Args:
        rows: rows of all tools.
        tools: the tools of each group.
        specs: how each group's queries are made.

    Raises:
        DataError: a schema is not valid, or the rows are too few.
    """
    for tool in (tool for group in tools for tool in group):
        check_schema(tool)
    return [compose(rows, group, spec) for group, spec in zip(tools, specs, strict=True)]
