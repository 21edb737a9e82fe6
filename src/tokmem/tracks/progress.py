"""What a run keeps as it goes, so that a stopped run continues where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from tokmem.bank.card import scores_note
from tokmem.data.jsonl import examples_checksum
from tokmem.files import atomic_write_json, damaged, read_json
from tokmem.log import Metrics
from tokmem.methods.protocol import Learned, Method
from tokmem.records import Example, Procedure

Measured = tuple[Mapping[str, Any], Sequence[Example]]
P = TypeVar("P", bound="Progress")
COSTS = ("train_seconds", "steps", "trainable_parameters", "new_examples", "replayed_examples")


@dataclass
class Progress:
    """What a learner has done; saved in `cells/<name>.json` after each portion.

    Attributes:
        done: how many portions are learned, and measured if that is due.
        totals: sums over the portions: seconds, steps, examples.
        rows: what was measured.
    """

    done: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls: type[P], out: Path, name: str) -> P:
        """The progress of a learner, read from the run's folder.

        Raises:
            TokMemError: its file is damaged.
        """
        path = _file(out, name)
        if not path.is_file():
            return cls()
        do = f"remove {path} and resume: its training goes on from the checkpoints, and is measured again"
        entries = read_json(path, dict, do)
        unknown = sorted(entries.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise damaged(path, f"unknown entry {unknown[0]!r}", do)
        made = cls(**entries)
        odd = [name for name, fresh in vars(cls()).items() if type(getattr(made, name)) is not type(fresh)]
        if odd or not all(isinstance(total, int | float) for total in made.totals.values()):
            name = odd[0] if odd else "totals"
            raise damaged(path, f"{name} is {getattr(made, name)!r:.60}", do)
        return made

    def write(self, out: Path, name: str) -> None:
        """Replaces the saved progress."""
        atomic_write_json(_file(out, name), self.__dict__)

    def add(self, method: Method, learned: Learned) -> None:
        """Adds the costs of a portion to the totals."""
        parameters = {"trainable_parameters": method.trainable_parameters}
        costs = {"train_seconds": learned.seconds, **vars(learned), **parameters}
        for name in COSTS:
            same = name in parameters and not method.accumulates
            self.totals[name] = costs[name] + (0 if same else self.totals.get(name, 0))

    def costs(self) -> dict[str, float]:
        """What learning has cost so far."""
        costs = {name: self.totals.get(name, 0) for name in COSTS}
        return costs | {"train_seconds": round(costs["train_seconds"], 2)}


@dataclass(kw_only=True)
class Learner(Generic[P]):
    """A method that learns portion after portion. A stopped one continues after its last finished portion.

    Attributes:
        name: of its files: `cells/<name>.json`; `banks/<name>` (TokMem) or `learned/<name>` holds what it
            learned.
        key: of its metrics and checkpoints; learners with one key train alike, and the second finds the
            training done.
        build: makes the untrained method.
        out: the run's folder.
        origin: where its knowledge comes from, for the files it saves.
        learns: whether it learns at all; knowledge that was loaded may only be measured.
    """

    name: str
    key: str
    build: Callable[[], Method]
    out: Path
    origin: Mapping[str, Any]
    learns: bool = True

    @property
    def suffixes(self) -> Sequence[str]:
        """For each portion, the ending of the name that its knowledge is saved under."""
        raise NotImplementedError

    def portion(self, method: Method, progress: P, index: int) -> None:
        """Learns and measures one portion."""
        raise NotImplementedError

    def keeps(self, index: int) -> bool:
        """Whether the knowledge saved after a portion stays when the next portion is done."""
        raise NotImplementedError

    def facts(self, index: int) -> dict[str, Any]:
        """Training settings up to a portion that the method itself does not know."""
        return {}

    def measured(self, progress: P, index: int) -> Measured:
        """The scores of a portion, and the test examples that gave them. Both may be empty."""
        return {}, ()

    def go(self, progress: P) -> P:
        """Runs the portions that are not done yet."""
        if progress.done < len(self.suffixes):
            self.walk(self.build(), progress)
        return progress

    def walk(self, method: Method, progress: P) -> None:
        """Learns and measures portion by portion, and saves what a resumed run needs after each."""
        if progress.done and self.learns:
            method.restore(self._folder(method, progress.done - 1))
        for index in range(progress.done, len(self.suffixes)):
            self.portion(method, progress, index)
            if self.learns:
                self._save(method, progress, index)
            progress.done = index + 1
            progress.write(self.out, self.name)
            if self.learns and index and not self.keeps(index - 1):
                shutil.rmtree(self._folder(method, index - 1))

    def _folder(self, method: Method, index: int) -> Path:
        return self.out / method.keeps / f"{self.name}{self.suffixes[index]}"

    def _save(self, method: Method, progress: P, index: int) -> None:
        """Saves the method with its origin, its scores and the settings that it was trained with."""
        own = {**method.training, **self.facts(index)} if method.training else {}
        settings = {**self.origin.get("settings", {}), **own}
        scores, tests = self.measured(progress, index)
        note = scores_note(scores, len(tests), examples_checksum(tests))
        known = {**self.origin, "settings": settings} | ({"scores": note} if note else {})
        method.save(self._folder(method, index), known)


def learn(
    method: Method,
    procedures: Sequence[Procedure],
    train: Sequence[Example],
    validation: Sequence[Example],
    out: Path,
    key: str,
) -> Learned:
    """One call of `method.learn`, with its checkpoint and metrics under `key` in a run's folder."""
    with Metrics(out / "metrics" / f"{key}.jsonl") as metrics:
        return method.learn(
            procedures, train, validation, checkpoint=out / "checkpoints" / key, callbacks=[metrics]
        )


def rows_once(out: Path, name: str, measure: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a part: read back if the run's folder has them, else measured and written.

    Raises:
        TokMemError: the file that has them is damaged.
    """
    path = _file(out, name)
    if not path.is_file():
        atomic_write_json(path, measure())
    rows: list[dict[str, Any]] = read_json(path, list, f"remove {path} and resume: this part is run again")
    return rows


def _file(out: Path, name: str) -> Path:
    return out / "cells" / f"{name}.json"
