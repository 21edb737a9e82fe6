"""A corpus: procedures, and the examples of each for training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tokmem.records import Example, Procedure

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Corpus:
    """Procedures and their examples in three splits.

    Attributes:
        procedures: the procedures, in the corpus's own order.
        train: training examples by the name of their first procedure; each procedure has an entry, which may
            be empty.
        validation: validation examples, in the same form.
        test: test examples, in the same form.
        skipped: procedures that were left out, each with the reason.
        dropped: number of unusable examples of a procedure (blank or over-long).
        wordings: other wordings of a procedure's instruction, if the corpus has any.
        checksum: sha256 (hex) of the files that were read.
    """

    procedures: tuple[Procedure, ...]
    train: Mapping[str, tuple[Example, ...]]
    validation: Mapping[str, tuple[Example, ...]]
    test: Mapping[str, tuple[Example, ...]]
    skipped: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    wordings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    checksum: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The procedures' names, in order."""
        return tuple(procedure.name for procedure in self.procedures)

    def by_procedure(self, split: Split) -> Mapping[str, tuple[Example, ...]]:
        """Returns the examples of one split by procedure."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def examples(self, split: Split) -> tuple[Example, ...]:
        """Returns the examples of one split in a row, procedure after procedure."""
        examples = self.by_procedure(split)
        return tuple(example for name in self.names for example in examples[name])

    def part(self, names: Collection[str], sizes: Mapping[Split, int | None]) -> Corpus:
        """Some procedures, each with its first examples of each split.

        Args:
            names: of the procedures.
            sizes: most examples of a procedure in each split; None keeps all.
        """
        procedures = tuple(p for p in self.procedures if p.name in names)
        kept = {
            split: {p.name: self.by_procedure(split)[p.name][: sizes[split]] for p in procedures}
            for split in SPLITS
        }
        train, validation, test = (kept[split] for split in SPLITS)
        return replace(self, procedures=procedures, train=train, validation=validation, test=test)


def content_rank(*parts: str) -> str:
    """Ranks an item by its content alone: sha256 (hex) of the parts.

    Sorting by it is a shuffle without a seed. Adding or removing an item never changes the order of two
    others.
    """
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
