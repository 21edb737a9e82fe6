"""One cell of a compositional experiment: one method and seed, through all its rounds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.protocol import Learned, Method
from tokmem.methods.tokmem import TokMem
from tokmem.tracks.asked import ask
from tokmem.tracks.kept import Kept, learn_kept, learned_folder, save_kept
from tokmem.tracks.rounds import Round
from tokmem.tracks.tool_build import set_epochs
from tokmem.tracks.tool_text import as_text


@dataclass
class State(Kept):
    """What a cell has done.

    Attributes:
        norms: norms of addresses, an entry a round.
    """

    norms: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class RoundCell:
    """A method on its way through the rounds; a stopped one goes on where it was.

    Attributes:
        name: of its files: `cells/<name>.json`; `banks/<name>` (TokMem) or `learned/<name>` holds what it
            learned, and with `-round<k>` at its end what it knew after an earlier round.
        key: of its metrics and checkpoints; cells of one key train alike, and the second finds it done.
        build: makes the method, untrained.
        rounds: in order.
        out: the run's folder.
        eval_all_previous: whether a round's measurement takes in all rounds before it.
        save_checkpoints: whether to keep what was known after each round, not after the last alone.
        origin: where what it learns comes from, for the files it saves.
    """

    name: str
    key: str
    build: Callable[[], Method]
    rounds: Sequence[Round]
    out: Path
    eval_all_previous: bool
    save_checkpoints: bool
    origin: Mapping[str, Any]

    def run(self) -> State:
        """What was measured; rounds that are done already are not run again."""
        state = State.read(self.out, self.name)
        if state.done == len(self.rounds):
            return state
        method = self.build()
        if state.done:
            method.restore(self._saved(method, state.done - 1))
        for index in range(state.done, len(self.rounds)):
            self._round(method, state, index)
        return state

    def _round(self, method: Method, state: State, index: int) -> None:
        """Learns a round, measures it, and keeps what a resumed run needs."""
        state.add(method, self.learn(method, index))
        if isinstance(method, TokMem):
            state.norms.append({"round": index + 1, **_norms(method, self.rounds[index])})
        state.rows += self._measure(method, state, index)
        epochs = [one.epochs for one in self.rounds[: index + 1]]
        save_kept(method, self._saved(method, index), self.origin, epochs=epochs)
        state.done = index + 1
        state.write(self.out, self.name)
        if index and not self.save_checkpoints:
            shutil.rmtree(self._saved(method, index - 1))

    def learn(self, method: Method, index: int) -> Learned:
        """One round's training, with its checkpoint and metrics under the round's number."""
        one = self.rounds[index]
        key = f"{self.key}-round{index + 1}"
        logger.info("%s: tools %s", key, one.tools)
        train, validation = one.data.train, one.data.validation
        if not isinstance(method, TokMem):
            train, validation = (tuple(map(as_text, split)) for split in (train, validation))
        set_epochs(method, one.epochs)
        return learn_kept(method, one.data.procedures, train, validation, self.out, key)

    def _measure(self, method: Method, state: State, index: int) -> list[dict[str, Any]]:
        """The rows of a round: of its own test queries, and of those of earlier rounds."""
        seen = self.rounds[: index + 1]
        tools = {tool.name: tool for one in seen for tool in one.data.procedures}
        measured = seen if self.eval_all_previous else seen[-1:]
        rows: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        for one in (one for one in measured if one.data.test):
            asked = ask(method, one.data.test, tools)
            # A prompt's notes say what it held for these queries.
            known = {
                "round": index + 1,
                "settings": dict(method.notes),
                **state.costs(),
                "tools": str(one.tools),
            }
            rows += [{**known, **row} for row in asked.rows()]
            written += asked.predictions()
        atomic_write_json(self.out / "predictions" / f"{self.name}-round{index + 1}.json", written)
        return rows

    def _saved(self, method: Method, index: int) -> Path:
        last = index == len(self.rounds) - 1
        return learned_folder(self.out, method, self.name if last else f"{self.name}-round{index + 1}")


def _norms(method: TokMem, one: Round) -> dict[str, float | None]:
    """Mean norms of a round's addresses and of those before it."""
    new = {tool.name for tool in one.data.procedures}
    norms = {name: float(method.bank.rows(name)[0].norm()) for name in method.bank.names}
    old = [norm for name, norm in norms.items() if name not in new]
    return {"mean_norm": fmean(norms[name] for name in new), "old_mean_norm": fmean(old) if old else None}
