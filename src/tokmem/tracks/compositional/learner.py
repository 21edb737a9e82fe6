"""One variant and seed of a compositional experiment, through all its rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.protocol import Learned, Method
from tokmem.tracks.compositional.rounds import Round
from tokmem.tracks.compositional.scores import ask, calls_as_text
from tokmem.tracks.progress import Learner, Measured, Progress, learn


@dataclass
class RoundProgress(Progress):
    """What a learner has done.

    Attributes:
        norms: norms of addresses, an entry a round.
    """

    norms: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class RoundLearner(Learner[RoundProgress]):
    """A method that learns round after round, each of which is measured.

    Attributes:
        rounds: in order.
        eval_all_previous: whether a round's measurement covers all rounds before it.
        save_checkpoints: whether to keep what was known after each round, not only after the last.
    """

    rounds: Sequence[Round]
    eval_all_previous: bool
    save_checkpoints: bool

    def run(self) -> RoundProgress:
        """What was measured; finished rounds are not run again."""
        return self.go(RoundProgress.read(self.out, self.name))

    @property
    def suffixes(self) -> list[str]:
        """The number of each round but the last."""
        return [*(f"-round{number}" for number in range(1, len(self.rounds))), ""]

    def keeps(self, index: int) -> bool:
        """Keeps what was known after a round on demand."""
        return self.save_checkpoints

    def facts(self, index: int) -> dict[str, Any]:
        """The epochs of each round so far."""
        return {"epochs": [one.epochs for one in self.rounds[: index + 1]]}

    def measured(self, progress: RoundProgress, index: int) -> Measured:
        """The scores of a round's own test queries, and these queries."""
        own, wanted = self.rounds[index], (index + 1, str(self.rounds[index].tools), "all")
        rows = [row for row in progress.rows if (row["round"], row["tools"], row["calls"]) == wanted]
        return (rows[0], own.data.test) if rows else ({}, ())

    def portion(self, method: Method, progress: RoundProgress, index: int) -> None:
        """Learns a round and measures it."""
        progress.add(method, self.learn(method, index))
        if norms := method.address_norms():
            progress.norms.append({"round": index + 1, **_mean_norms(norms, self.rounds[index])})
        progress.rows += self._measure(method, progress, index)

    def learn(self, method: Method, index: int) -> Learned:
        """Trains one round, with its checkpoint and metrics under the round's number."""
        one = self.rounds[index]
        key = f"{self.key}-round{index + 1}"
        logger.info("%s: tools %s", key, one.tools)
        train, validation = one.data.train, one.data.validation
        if not method.chains:
            train, validation = (tuple(map(calls_as_text, split)) for split in (train, validation))
        method.train_for(one.epochs)
        return learn(method, one.data.procedures, train, validation, self.out, key)

    def _measure(self, method: Method, progress: RoundProgress, index: int) -> list[dict[str, Any]]:
        """The rows of a round: of its own test queries, and of those of earlier rounds."""
        seen = self.rounds[: index + 1]
        tools = {tool.name: tool for one in seen for tool in one.data.procedures}
        measured = seen if self.eval_all_previous else seen[-1:]
        rows: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        for one in (one for one in measured if one.data.test):
            answered = ask(method, one.data.test, tools)
            known = {
                "round": index + 1,
                "settings": dict(method.notes),  # a prompt's notes tell what it held for these queries
                **progress.costs(),
                "tools": str(one.tools),
            }
            rows += [{**known, **row} for row in answered.rows()]
            written += answered.predictions()
        atomic_write_json(self.out / "predictions" / f"{self.name}-round{index + 1}.json", written)
        return rows


def _mean_norms(norms: Mapping[str, float], one: Round) -> dict[str, float | None]:
    """Mean norms of a round's addresses and of those before it."""
    new = {tool.name for tool in one.data.procedures}
    old = [norm for name, norm in norms.items() if name not in new]
    return {"mean_norm": fmean(norms[name] for name in new), "old_mean_norm": fmean(old) if old else None}
