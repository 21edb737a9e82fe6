"""What a run keeps as it goes, so that a stopped one goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from tokmem.files import atomic_write_json, damaged, read_json
from tokmem.log import Metrics
from tokmem.methods.adapted import Adapted
from tokmem.methods.protocol import Learned, Method
from tokmem.methods.tokmem import TokMem
from tokmem.records import Example, Procedure

K = TypeVar("K", bound="Kept")
COSTS = ("train_seconds", "steps", "trainable_parameters", "new_examples", "replayed_examples")


@dataclass
class Kept:
    """What a cell has done; kept in `cells/<name>.json` after each portion of what it learns.

    Attributes:
        done: how many portions are learned (and measured, where that is due).
        totals: numbers that learning added up: seconds, steps, examples.
        rows: what was measured.
    """

    done: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls: type[K], out: Path, name: str) -> K:
        """What the cell of that name has done in the run's folder.

        Raises:
            TokMemError: the file that says so is damaged.
        """
        path = _cell(out, name)
        if not path.is_file():
            return cls()
        do = f"remove {path} and resume: its training goes on from the checkpoints, and is measured again"
        kept = read_json(path, dict, do)
        unknown = sorted(kept.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise damaged(path, f"unknown entry {unknown[0]!r}", do)
        return cls(**kept)

    def write(self, out: Path, name: str) -> None:
        """Replaces what is kept."""
        atomic_write_json(_cell(out, name), self.__dict__)

    def add(self, method: Method, learned: Learned) -> None:
        """Counts a portion: TokMem trains new numbers in each, others the same ones again."""
        values = (
            *(learned.seconds, learned.steps, method.trainable_parameters),
            *(learned.new_examples, learned.replayed_examples),
        )
        for name, value in zip(COSTS, values, strict=True):
            again = name == "trainable_parameters" and not isinstance(method, TokMem)
            self.totals[name] = value + (0 if again else self.totals.get(name, 0))

    def costs(self) -> dict[str, float]:
        """What learning has cost so far."""
        costs = {name: self.totals.get(name, 0) for name in COSTS}
        return costs | {"train_seconds": round(costs["train_seconds"], 2)}


def _cell(out: Path, name: str) -> Path:
    return out / "cells" / f"{name}.json"


def learned_folder(out: Path, method: Method, name: str) -> Path:
    """Where a method's knowledge is kept in a run's folder."""
    return out / ("banks" if isinstance(method, TokMem) else "learned") / name


def save_kept(method: Method, folder: Path, origin: Mapping[str, Any], **settings: Any) -> None:
    """Saves a method with its origin, and in it the settings that it was itself trained with.

    Args:
        method: with what it has learned.
        folder: as `learned_folder` names it.
        origin: where it comes from; its `settings` are what holds of every method.
        settings: those that the method's own cannot say.
    """
    own = method.settings.facts | settings if isinstance(method, TokMem | Adapted) else {}
    method.save(folder, {**origin, "settings": {**origin.get("settings", {}), **own}})


def learn_kept(
    method: Method,
    procedures: Sequence[Procedure],
    train: Sequence[Example],
    validation: Sequence[Example],
    out: Path,
    key: str,
) -> Learned:
    """One call of `learn`, with its checkpoint and metrics under `key` in a run's folder."""
    with Metrics(out / "metrics" / f"{key}.jsonl") as metrics:
        return method.learn(
            procedures, train, validation, checkpoint=out / "checkpoints" / key, metrics=metrics
        )
