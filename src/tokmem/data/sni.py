"""Reads Super-NaturalInstructions: a folder of task files, each task one procedure.

The content of an example alone decides its split. Other train or validation sizes never change the test set,
a smaller train set is the beginning of a larger one, and fewer tasks are the first of more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from tokmem.config import Config
from tokmem.data.corpus import Corpus, content_rank
from tokmem.data.fields import did_you_mean, expect, parse_object, read_bytes, take, take_texts
from tokmem.errors import ConfigError, DataError
from tokmem.records import Demonstration, Example, Procedure, Turn

CountTokens = Callable[[str], int]

_TASK_NAME = re.compile(r"task(\d+)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_DESCRIPTION_CHARS = 160
_LANGUAGES = ("Input_language", "Output_language", "Instruction_language")


@dataclass(frozen=True)
class SniSpec(Config):
    """What to take from the folder. The default sizes are the paper's.

    Attributes:
        num_tasks: how many usable tasks, in ascending order of their number; None takes all.
        train_size: training examples of a task.
        val_size: validation examples of a task.
        test_size: test examples of a task.
        max_instruction_tokens: the most tokens of instruction and query together; longer examples are
            dropped.
        few_shot: how many of the task's positive examples to show before a query; fewer if it has fewer.
        tasks: names of the tasks to choose from; empty means every task in the folder.

    Raises:
        ConfigError: a size is out of range.
    """

    num_tasks: int | None = None
    train_size: int = 500
    val_size: int = 10
    test_size: int = 50
    max_instruction_tokens: int | None = None
    few_shot: int = 0
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name in ("num_tasks", "max_instruction_tokens") else 0
            if isinstance(value, int) and value < least:
                raise ConfigError(f"{field.name}={value}", f"at least {least}", "raise it")
        if self.needed == 0:
            raise ConfigError("train_size, val_size and test_size are all 0", "some examples", "raise one")

    @property
    def needed(self) -> int:
        """How many examples a task must have."""
        return self.train_size + self.val_size + self.test_size


@dataclass(frozen=True)
class _Task:
    procedure: Procedure
    candidates: tuple[Example, ...]
    blank: int


def load_tasks(folder: Path, spec: SniSpec, count_tokens: CountTokens | None = None) -> Corpus:
    """Reads tasks into a corpus, in ascending order of task number.

    Instances with the same input become one example with all their references; the first reference is the
    training response. Tasks that are not wholly in English, or have too few instances, are skipped and named
    in ``Corpus.skipped``.

    Args:
        folder: holds ``task*.json`` files as the dataset publishes them.
        spec: what to take.
        count_tokens: returns the length of a text in tokens; ``max_instruction_tokens`` needs it.

    Returns:
        The corpus.

    Raises:
        ConfigError: ``max_instruction_tokens`` is set without ``count_tokens``.
        DataError: the folder holds no tasks, lacks a named one, or has too few usable ones for ``num_tasks``;
            or a file is malformed.
    """
    if spec.max_instruction_tokens is not None and count_tokens is None:
        raise ConfigError("max_instruction_tokens without a tokenizer", "count_tokens", "pass count_tokens")
    digest = hashlib.sha256()
    procedures: list[Procedure] = []
    chosen: dict[str, tuple[Example, ...]] = {}
    skipped: dict[str, str] = {}
    dropped: dict[str, int] = {}
    for path in _task_files(folder, spec.tasks):
        if len(procedures) == spec.num_tasks:
            break
        name, content = path.stem, read_bytes(path)
        digest.update(name.encode() + hashlib.sha256(content).digest())
        raw = parse_object(content, str(path), nan_as_null=True)  # the data set itself has URL: [NaN]
        if (language := _foreign_language(raw, str(path))) is not None:
            skipped[name] = language
            continue
        task = _read_task(raw, path, spec.few_shot)
        examples, long = _choose(task.candidates, spec, count_tokens)
        if task.blank + long:
            dropped[name] = task.blank + long
        if len(examples) < spec.needed:
            left_out = f"{task.blank} blank, {long} over-long"
            skipped[name] = f"{len(examples)} usable instances of {spec.needed} ({left_out})"
            continue
        procedures.append(task.procedure)
        chosen[name] = examples
    _require_enough(len(procedures), spec, folder, skipped)
    return _split(procedures, chosen, spec, skipped, dropped, digest.hexdigest())


def _split(
    procedures: list[Procedure],
    chosen: Mapping[str, tuple[Example, ...]],
    spec: SniSpec,
    skipped: Mapping[str, str],
    dropped: Mapping[str, int],
    checksum: str,
) -> Corpus:
    """Splits examples into test, train and validation. Test comes first, so no other size moves it."""
    trained = spec.test_size + spec.train_size
    return Corpus(
        procedures=tuple(procedures),
        train={name: examples[spec.test_size : trained] for name, examples in chosen.items()},
        validation={name: examples[trained:] for name, examples in chosen.items()},
        test={name: examples[: spec.test_size] for name, examples in chosen.items()},
        skipped=skipped,
        dropped=dropped,
        checksum=checksum,
    )


def _task_files(folder: Path, tasks: tuple[str, ...]) -> list[Path]:
    """Returns the wanted task files, by number."""
    numbers = {path: _TASK_NAME.match(path.stem) for path in Path(folder).glob("task*.json")}
    found = {path.stem: (int(number[1]), path) for path, number in numbers.items() if number}
    if not found:
        raise DataError(
            f"{folder}: no task files",
            "task<number>_<name>.json",
            "name the folder that holds the task files",
        )
    for name in tasks:
        if name not in found:
            raise DataError(
                f"{folder}: no task {name!r}{did_you_mean(name, found)}",
                "a task of this folder",
                "correct it",
            )
    return [path for _, path in sorted(found[name] for name in (set(tasks) or found))]


def _require_enough(count: int, spec: SniSpec, folder: Path, skipped: Mapping[str, str]) -> None:
    if count >= (spec.num_tasks or 1):
        return
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
    raise DataError(
        f"{folder}: {count} usable tasks, {len(skipped)} skipped ({reasons})",
        f"{spec.num_tasks or 'some'} tasks of {spec.needed} instances",
        "ask for fewer tasks or smaller splits",
    )


def _foreign_language(raw: dict[str, object], where: str) -> str | None:
    """Says why a task is not wholly in English; None if it is."""
    for key in _LANGUAGES:
        languages = take_texts(raw, key, where)
        if languages != ("English",):
            return f"{key} is {', '.join(languages) or 'empty'}"
    return None


def _read_task(raw: dict[str, object], path: Path, few_shot: int) -> _Task:
    where, name = str(path), path.stem
    instruction = " ".join(take_texts(raw, "Definition", where)).strip()
    if not instruction:
        raise DataError(f"{where}: empty `Definition`", "what the task asks for", "mend the file")
    shown: list[Demonstration] = []
    for index, item in enumerate(take(raw, "Positive Examples", list, where)):
        place = f"{where}: `Positive Examples`[{index}]"
        positive = expect(item, dict, place)
        outputs = take_texts(positive, "output", place)
        shown.append(Demonstration(take(positive, "input", str, place).strip(), "".join(outputs[:1]).strip()))
    references, blank = _merge_instances(raw, where)
    # The task's own demonstrations would give away a query that they solve.
    solved = {demonstration.query for demonstration in shown}
    ranked = sorted((content_rank(name, query), query) for query in references.keys() - solved)
    examples = tuple(
        Example(
            query=query,
            turns=(Turn(name, references[query][0]),),
            instruction=instruction,
            references=references[query],
            demonstrations=tuple(shown[:few_shot]),
            id=f"{name}-{rank[:12]}",
        )
        for rank, query in ranked
    )
    return _Task(Procedure(name, _describe(instruction)), examples, blank)


def _merge_instances(raw: dict[str, object], where: str) -> tuple[dict[str, tuple[str, ...]], int]:
    """Returns distinct references by input, stripped, and the number of blank instances."""
    instances = take(raw, "Instances", list, where)
    if not instances:
        raise DataError(f"{where}: empty `Instances`", "at least one instance", "remove the file")
    merged: dict[str, tuple[str, ...]] = {}
    blank = 0
    for index, item in enumerate(instances):
        place = f"{where}: `Instances`[{index}]"
        instance = expect(item, dict, place)
        query = take(instance, "input", str, place).strip()
        outputs = tuple(text for text in map(str.strip, take_texts(instance, "output", place)) if text)
        if query and outputs:
            merged[query] = tuple(dict.fromkeys(merged.get(query, ()) + outputs))
        else:
            blank += 1
    return merged, blank


def _choose(
    candidates: tuple[Example, ...], spec: SniSpec, count_tokens: CountTokens | None
) -> tuple[tuple[Example, ...], int]:
    """Takes the first examples that are short enough, as many as needed; counts over-long ones on the way."""
    if count_tokens is None or spec.max_instruction_tokens is None:
        return candidates[: spec.needed], 0
    chosen: list[Example] = []
    long = 0
    for example in candidates:
        if len(chosen) == spec.needed:
            break
        if count_tokens(f"{example.instruction}\n\n{example.query}") > spec.max_instruction_tokens:
            long += 1
        else:
            chosen.append(example)
    return tuple(chosen), long


def _describe(definition: str) -> str:
    """Returns the first sentence, and the next ones that still fit."""
    first, *rest = _SENTENCE_END.split(definition)
    for sentence in rest:
        if len(first) + len(sentence) >= _DESCRIPTION_CHARS:
            break
        first = f"{first} {sentence}"
    return first
