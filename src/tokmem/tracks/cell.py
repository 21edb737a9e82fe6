"""One cell of an experiment: one method, prompt mode and seed, through all its blocks and stages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

from tokmem.data import Corpus
from tokmem.data.probes import Probe, probe
from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.protocol import Learned, Method
from tokmem.records import Answer, Example
from tokmem.tracks.kept import Kept, learn_kept, learned_folder, save_kept
from tokmem.tracks.schedule import Block
from tokmem.tracks.scores import predictions, score

Build = Callable[[], Method]


@dataclass
class State(Kept):
    """What a cell has done.

    Attributes:
        when_learned: scores of each task right after its own block, by task.
    """

    when_learned: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class Cell:
    """A method on its way through the blocks; a stopped one goes on where it was.

    Attributes:
        name: of its files: `cells/<name>.json`; `banks/<name>` (TokMem) or `learned/<name>` holds what it
            learned, and with `-<k>` at its end what it knew after the stage of k tasks.
        key: of its metrics and checkpoints: the name and the rate.
        build: makes the method, untrained.
        corpus: tasks in order of arrival.
        blocks: what is learned together, and where a stage ends.
        out: the run's folder.
        probes: other instructions to ask the last stage's queries with.
        learns: whether to train at all (a saved bank may only be measured).
        origin: where what it learns comes from, for the files it saves.
    """

    name: str
    key: str
    build: Build
    corpus: Corpus
    blocks: Sequence[Block]
    out: Path
    probes: Sequence[Probe]
    learns: bool
    origin: Mapping[str, Any]

    def run(self) -> list[dict[str, Any]]:
        """The rows of its stages; blocks that are done already are not run again."""
        state = State.read(self.out, self.name)
        if state.done == len(self.blocks):
            return state.rows
        method = self.build()
        if not method.continual:
            return self._run_at_once(method, state)
        if state.done and self.learns:
            method.restore(self._saved(method, state.done - 1))
        for index in range(state.done, len(self.blocks)):
            self._block(method, state, index)
        return state.rows

    def _run_at_once(self, method: Method, state: State) -> list[dict[str, Any]]:
        """Answers every query once; each stage is a part of that."""
        tasks = self.corpus.names[: self.blocks[-1].end]
        if self.learns:
            self._learn(method, state, Block(0, len(tasks), measured=True))
        whole = self._answers(method, tasks)
        for block in (b for b in self.blocks if b.measured):
            part = whole.of(tasks[: block.end])
            self._stage(method, state, block.end, part, part.scores())
        state.done = len(self.blocks)
        state.write(self.out, self.name)
        return state.rows

    def _block(self, method: Method, state: State, index: int) -> None:
        """Learns one block, measures it, and keeps what a resumed run needs."""
        block = self.blocks[index]
        if self.learns:
            self._learn(method, state, block)
        # A stage answers for all tasks so far; a block inside it for its own alone.
        answers = self._answers(method, self.corpus.names[0 if block.measured else block.start : block.end])
        scores = answers.scores()
        new = self.corpus.names[block.start : block.end]
        state.when_learned |= {n: s for n, s in scores["per_procedure"].items() if n in new}
        if block.measured:
            self._stage(method, state, block.end, answers, scores)
        state.done = index + 1
        if self.learns:
            save_kept(method, self._saved(method, index), self.origin)
        state.write(self.out, self.name)
        if self.learns and index and not self.blocks[index - 1].measured:
            shutil.rmtree(self._saved(method, index - 1))

    def _learn(self, method: Method, state: State, block: Block) -> None:
        learned = learn(method, self.corpus, block, self.out, self.block_key(block))
        state.add(method, learned)

    def block_key(self, block: Block) -> str:
        """What the metrics and checkpoint of one block are called."""
        return self.key if len(self.blocks) == 1 else f"{self.key}-{block.end}"

    def _answers(self, method: Method, tasks: Sequence[str]) -> _Answers:
        examples = [e for name in tasks for e in self.corpus.test[name]]
        if not examples:
            return _Answers([], [], [], 0.0)
        started = perf_counter()
        answers = method.answer(examples)
        seconds = perf_counter() - started
        forced = method.answer(examples, forced=True) if method.forces else answers
        return _Answers(examples, answers, forced, seconds / len(examples))

    def _stage(
        self, method: Method, state: State, seen: int, answers: _Answers, scores: Mapping[str, Any]
    ) -> None:
        """The row of a stage, and its predictions."""
        name = self.name if len(self.blocks) == 1 else f"{self.name}-{seen}"
        atomic_write_json(self.out / "predictions" / f"{name}.json", answers.predictions())
        row: dict[str, Any] = {"stage": seen, "settings": dict(method.notes), **scores}
        if len(self.blocks) > 1 and method.continual:
            tasks = self.corpus.names[:seen]
            row |= {
                f"{measure}_when_learned": _mean([state.when_learned.get(t, {}).get(measure) for t in tasks])
                for measure in ("rouge_l", "routing_accuracy")
            }
        row |= state.costs()
        if seen == self.blocks[-1].end:
            row["probes"] = {kind: self._probe(method, answers.examples, kind) for kind in self.probes}
        state.rows.append(row)

    def _probe(self, method: Method, examples: Sequence[Example], kind: Probe) -> dict[str, Any]:
        asked = probe(examples, kind, self.corpus.wordings)
        answers = method.answer(asked)
        scores = score(asked, answers, answers)
        return {name: scores[name] for name in ("rouge_l", "routing_accuracy")}

    def _saved(self, method: Method, index: int) -> Path:
        """Where what is known after a block is kept: after a stage for good, else until the next block."""
        last = index == len(self.blocks) - 1
        name = self.name if last else f"{self.name}-{self.blocks[index].end}"
        return learned_folder(self.out, method, name)


def learn(method: Method, corpus: Corpus, block: Block, out: Path, key: str) -> Learned:
    """One call of `learn` on a block's tasks, with its checkpoint and metrics under `key`."""
    names = set(corpus.names[block.start : block.end])
    chosen = [p for p in corpus.procedures if p.name in names]
    logger.info("%s: tasks %d to %d", key, block.start + 1, block.end)
    train = [e for p in chosen for e in corpus.train[p.name]]
    validation = [e for p in chosen for e in corpus.validation[p.name]]
    return learn_kept(method, chosen, train, validation, out, key)


@dataclass(frozen=True)
class _Answers:
    """Test examples with what was answered, routed and forced, and the seconds a query took."""

    examples: Sequence[Example]
    answers: Sequence[Answer]
    forced: Sequence[Answer]
    seconds: float

    def of(self, tasks: Sequence[str]) -> _Answers:
        """The part that belongs to some tasks."""
        wanted = set(tasks)
        kept = [i for i, e in enumerate(self.examples) if e.turns[0].procedure in wanted]
        return _Answers(
            [self.examples[i] for i in kept],
            [self.answers[i] for i in kept],
            [self.forced[i] for i in kept],
            self.seconds,
        )

    def scores(self) -> dict[str, Any]:
        """Scores, and what a query cost."""
        if not self.examples:
            return {"per_procedure": {}, "most_confused": [], "confusion": []}
        return {
            **score(self.examples, self.answers, self.forced),
            "prompt_tokens_per_query": fmean(a.prompt_tokens for a in self.answers),
            "queries_per_second": 1 / self.seconds,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """An entry a query."""
        return predictions(self.examples, self.answers, self.forced)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if len(known) == len(values) and known else None
