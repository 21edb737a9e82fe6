"""A portion of tools with their queries: read from files of composed queries, and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokmem.data.calls.compose import Composed, ComposeSpec, plain_query
from tokmem.data.calls.files import calls_path, descriptions_path, named_files, read_calls, read_descriptions
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.corpus import SPLITS, Split
from tokmem.data.fields import did_you_mean
from tokmem.errors import DataError
from tokmem.log import logger
from tokmem.records import Example


def read_portion(folder: Path, tools: ToolRange, spec: ComposeSpec) -> Composed:
    """Reads the queries of a range that `tokmem data compose` wrote, or the folder's single pair of files.

    Without a file of validation queries, the last training queries are held out.

    Args:
        folder: holds the files.
        tools: the range.
        spec: sizes of the splits, and most calls in a query.

    Raises:
        DataError: the files are missing or damaged, or are of other tools.
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


def check_portion(made: Composed, tools: str) -> None:
    """Refuses a tool that no training query calls, and a call of a tool outside the portion.

    Args:
        made: the portion.
        tools: names its range in errors.

    Raises:
        DataError: there is such a tool or call.
    """
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
                    "a tool of its range",
                    "correct the files",
                )


def check_new_tools(portions: Mapping[str, Composed]) -> None:
    """Refuses a tool that stands in two portions. Their ranges may differ: files may hold other tools.

    Args:
        portions: tools and queries, by the range that they are for.

    Raises:
        DataError: a tool stands in two portions.
    """
    home: dict[str, str] = {}
    for tools, data in portions.items():
        for tool in data.procedures:
            if home.setdefault(tool.name, tools) != tools:
                raise DataError(
                    f"tool {tool.name!r} is among tools {home[tool.name]} and {tools}",
                    "each tool in one range",
                    "make the files of each range again with `tokmem data compose`",
                )
