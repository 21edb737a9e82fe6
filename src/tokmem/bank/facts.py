"""What a saved bank says of itself, `bank.json`; reading it takes no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tokmem.bank.schema import check_facts
from tokmem.errors import BankError, TokMemError
from tokmem.files import check_format, read_object, recover_folder
from tokmem.locks import lock_folder
from tokmem.strict_json import parse_json
from tokmem.tensors import read_whole

T = TypeVar("T")
FORMAT = 3  # brought statistics
TENSORS, STATISTICS, FACTS, CARD = "bank.safetensors", "statistics.safetensors", "bank.json", "README.md"
FILES = (FACTS, TENSORS, STATISTICS, CARD)
_COMMON = ("prompt", "adapter", "call_style", "license")  # of merged banks, where they agree
LESSONS = "lessons"  # in `training`: a card for each procedure that was learned from a lesson


@dataclass(frozen=True)
class Origin:
    """The backbone that a bank belongs to, and how the bank was made.

    Attributes:
        backbone: id of the backbone.
        fingerprint: fingerprint of its weights; other backbones refuse the bank.
        chat: fingerprint of the chat format it was trained with.
        configuration: settings of the backbone that change the states of its weights.
        training: provenance and settings of the training, in any form. The card reads `license` (of the
            backbone), `prompt`, `provenance.data_checksum`, `trained_on` (checksums) and `scores`.
        source_sha256: of the GGUF file that the weights come from; empty if they come from none.
    """

    backbone: str
    fingerprint: str
    chat: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    source_sha256: str = ""

    def merged(self, other: Origin) -> Origin:
        """The origin of a bank that was merged with another: both trainings, and what they have in common.

        Raises:
            BankError: the other bank has another prompt mode, or its calls end otherwise.
        """
        prompts = [one.training.get("prompt") for one in (self, other)]
        if None not in prompts and prompts[0] != prompts[1]:
            raise BankError(
                f"banks of the prompt modes {' and '.join(map(str, prompts))}",
                "banks of one mode: their tokens were trained after other prompts",
                "train one of them again in the mode of the other",
            )
        styles = [one.training.get("call_style", "plain") for one in (self, other)]
        if styles[0] != styles[1]:
            raise BankError(f"banks of the call styles {' and '.join(styles)}", "banks of one call style")
        training: dict[str, Any] = {"merged": [*_trainings(self.training), *_trainings(other.training)]}
        for name in _COMMON:
            first, second = (one.training.get(name) for one in (self, other))
            if first is not None and first == second:
                training[name] = first
        if lessons := {**_lessons(self.training), **_lessons(other.training)}:
            training[LESSONS] = lessons
        return replace(self, training=training)


def with_lessons_of(training: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Copies the notes of a training, without the lessons of procedures that are not in `names`.

    A procedure may have been removed or renamed. Another one that takes its name did not learn its lesson.
    """
    kept = {name: card for name, card in _lessons(training).items() if name in names}
    return {**training, LESSONS: kept} if LESSONS in training else dict(training)


def _lessons(training: Mapping[str, Any]) -> Mapping[str, Any]:
    found = training.get(LESSONS)
    return found if isinstance(found, Mapping) else {}


def _trainings(training: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Lists the trainings of a bank: one of each bank that was merged into it, and the later one."""
    parts = training.get("merged")
    if not isinstance(parts, list):
        yield dict(training)
        return
    for part in parts:
        yield from _trainings(part) if isinstance(part, Mapping) else ()
    known = ("merged", LESSONS, *_COMMON)
    if later := {name: value for name, value in training.items() if name not in known}:
        yield later


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads and checks what a saved bank says of itself; its other files are there as they were saved.

    Returns:
        the entries of `bank.json`, without the digest.

    Raises:
        BankError: a file is missing, truncated or edited.
    """

    def read(folder: Path) -> dict[str, Any]:
        facts = checked_facts(folder)
        for name, file in (("tensors", TENSORS), ("statistics", STATISTICS)):
            if name in facts:
                read_whole(folder / file, BankError, facts[name])
        return facts

    return read_settled(folder, read)


def read_settled(folder: Path, read: Callable[[Path], T]) -> T:
    """Reads a bank's folder; where it seems damaged, once more after a writer beside has ended.

    Args:
        folder: the folder.
        read: reads it.

    Raises:
        BankError: `read` refused the folder twice, or once where no lock can be had.
    """
    recover_folder(folder)
    try:
        return read(folder)
    except BankError as first:
        try:
            recover_folder(folder)
            if not folder.is_dir():
                raise
            with lock_folder(folder):  # a writer may have replaced one file after the other was read
                return read(folder)
        except BankError:
            raise
        except (OSError, TokMemError):  # no place for a lock, or a writer that does not end
            raise first from None


def checked_facts(folder: Path) -> dict[str, Any]:
    """Reads and checks the entries of `bank.json`, without the digest.

    Raises:
        BankError: the file is missing, truncated or edited.
    """
    path = folder / FACTS
    facts = read_object(path, "a bank", BankError)
    if "digest" not in facts:
        raise BankError(f"{path} is no bank: {json.dumps(facts):.80}", "a whole file", "take it from a copy")
    stored = facts.pop("digest")
    check_format(path, facts.get("format"), FORMAT, BankError)
    if stored != digest(facts):
        raise BankError(
            f"{path} was edited after saving", "the file as saved", "change banks with `tokmem bank`"
        )
    check_facts(facts, path)
    return facts


def as_read_back(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `bank.json` as a reader will find them.

    Raises:
        BankError: JSON cannot hold them, or no reader would take them.
    """
    try:
        read: dict[str, Any] = parse_json(json.dumps(facts, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise BankError(
            f"a bank that cannot be saved: {error}", "notes of texts, finite numbers, lists and objects"
        ) from error
    return read


def digest(facts: Mapping[str, Any]) -> str:
    """Computes the checksum that `bank.json` holds of its own entries."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
