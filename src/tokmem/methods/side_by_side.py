"""Groups of procedures whose steering trains side by side, and what is told and reported of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from tokmem.data.stream import SideBySide
from tokmem.log import Callback, Callbacks, tell_failure
from tokmem.records import Encoded
from tokmem.train.settings import FitReport, FitSettings

MOST_TOKENS = 32_768  # of the prompts of procedures that train side by side


@dataclass(frozen=True)
class Group:
    """Procedures with equally many examples.

    Attributes:
        names: of the procedures.
        train: their examples, procedure after procedure.
        held: their held-out examples.
    """

    names: tuple[str, ...]
    train: Sequence[Encoded]
    held: Sequence[Encoded]

    @property
    def count(self) -> int:
        """Examples of each procedure; also the steps of an epoch."""
        return len(self.train) // len(self.names)

    def order(self, settings: FitSettings) -> SideBySide:
        """Takes one example of every procedure in each step."""
        return SideBySide(len(self.names), self.count, settings.window, settings.shuffle, settings.seed)


def groups(train: Mapping[str, Sequence[Encoded]], held: Mapping[str, Sequence[Encoded]]) -> list[Group]:
    """Divides procedures into groups.

    The prompts of a group have at most `MOST_TOKENS` tokens together, for their prefixes stay in memory. A
    single procedure may have more.

    Args:
        train: the examples of each procedure.
        held: its held-out examples.
    """
    chosen: dict[int, list[list[str]]] = {}
    room: dict[int, int] = {}
    for name, own in train.items():
        need = sum(example.prefix for example in own)
        if room.get(len(own), 0) < need:
            chosen.setdefault(len(own), []).append([])
            room[len(own)] = MOST_TOKENS
        chosen[len(own)][-1].append(name)
        room[len(own)] -= need
    return [
        Group(tuple(names), [e for name in names for e in train[name]], [e for n in names for e in held[n]])
        for several in chosen.values()
        for names in several
    ]


class Onward(Callback):
    """Tells callbacks of the steps of one group after the other as the steps of one run.

    Train the groups within it: it tells of the end of the last group, or of a failure.

    Args:
        callbacks: to tell.
        steps: of all groups.
    """

    def __init__(self, callbacks: Callbacks, steps: int) -> None:
        self.callbacks, self.steps = callbacks, steps
        self.before, self.step, self.begun = 0, 0, False

    def __enter__(self) -> Onward:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._finish()
        else:
            tell_failure(self.callbacks, self.step)

    def on_begin(self, step: int, steps: int) -> None:
        """Passes on the first group that has steps to take: a resumed run goes on there."""
        if step < steps:
            self._begin(self.before + step)

    def on_step(self, step: int, values: Mapping[str, Any]) -> None:
        """Passes on a step."""
        self.step = self.before + step
        for callback in self.callbacks:
            callback.on_step(self.step, values)

    def group_ends(self, report: FitReport) -> None:
        """Counts the steps of a group, and passes on the loss of its held-out examples."""
        self.before = self.step = self.before + report.steps
        for callback in self.callbacks if self.begun and report.best_loss is not None else ():
            callback.on_validation(self.before, report.best_loss or 0.0)

    def _finish(self) -> None:
        self._begin(self.before)
        for callback in self.callbacks:
            callback.on_end(self.before)

    def _begin(self, step: int) -> None:
        if not self.begun:
            for callback in self.callbacks:
                callback.on_begin(step, self.steps)
        self.begun = True


def together(reports: Sequence[FitReport]) -> FitReport:
    """What several runs did: sums, and means of their losses."""
    best, first = (
        [value for value in values if value is not None]
        for values in ([r.best_loss for r in reports], [r.first_loss for r in reports])
    )
    counts = {
        field.name: sum(getattr(report, field.name) for report in reports)
        for field in fields(FitReport)
        if field.name not in ("loss", "best_loss", "first_loss", "prefix_bytes")
    }
    return FitReport(
        loss=fmean(report.loss for report in reports),
        best_loss=fmean(best) if best else None,
        first_loss=fmean(first) if first else None,
        prefix_bytes=max(report.prefix_bytes for report in reports),
        **counts,
    )
