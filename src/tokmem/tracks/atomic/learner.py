"""One method, prompt mode and seed of an atomic experiment, through all its blocks and stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokmem.data import Corpus
from tokmem.data.probes import Probe, probe
from tokmem.data.schedule import Block
from tokmem.eval.answers import ProcedureAnswers, score_answers
from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.protocol import Learned, Method
from tokmem.methods.shared import answer_both, answer_shared
from tokmem.records import Example
from tokmem.tracks.atomic.scores import OF_EACH, mean_of_each
from tokmem.tracks.progress import Learner, Measured, Progress, learn


@dataclass
class BlockProgress(Progress):
    """What a learner has done.

    Attributes:
        when_learned: scores of each task right after its own block, by task.
    """

    when_learned: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(kw_only=True)
class BlockLearner(Learner[BlockProgress]):
    """A method that learns block after block; each stage ends with a block, and is measured.

    Attributes:
        corpus: tasks in order of arrival.
        blocks: what is learned together, and where a stage ends.
        probes: other instructions to ask the last stage's queries with.
    """

    corpus: Corpus
    blocks: Sequence[Block]
    probes: Sequence[Probe]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each stage; finished blocks are not run again."""
        return self.go(BlockProgress.read(self.out, self.name)).rows

    @property
    def suffixes(self) -> list[str]:
        """The number of tasks after each block but the last."""
        return [*(f"-{block.end}" for block in self.blocks[:-1]), ""]

    def keeps(self, index: int) -> bool:
        """Keeps what a method knew after a stage."""
        return self.blocks[index].measured

    def measured(self, progress: BlockProgress, index: int) -> Measured:
        """The scores of the stage that a block ends, and its test examples."""
        block = self.blocks[index]
        tests = [e for name in self.corpus.names[: block.end] for e in self.corpus.test[name]]
        return (progress.rows[-1], tests) if block.measured else ({}, ())

    def walk(self, method: Method, progress: BlockProgress) -> None:
        """Runs the blocks in order; a method whose answers do not depend on the order learns all at once."""
        if method.continual:
            super().walk(method, progress)
            return
        tasks = self.corpus.names[: self.blocks[-1].end]
        if self.learns:
            progress.add(method, self.learn(method, Block(0, len(tasks), measured=True)))
        whole = self._answers(method, tasks)  # each query once: a stage is measured on its part
        for block in (b for b in self.blocks if b.measured):
            part = whole.of(tasks[: block.end])
            self._stage(method, progress, block.end, part, part.scores())
        progress.done = len(self.blocks)
        progress.write(self.out, self.name)

    def portion(self, method: Method, progress: BlockProgress, index: int) -> None:
        """Learns one block and measures it."""
        block = self.blocks[index]
        if self.learns:
            progress.add(method, self.learn(method, block))
        # A stage answers for all tasks so far; a block inside it for its own alone.
        answers = self._answers(method, self.corpus.names[0 if block.measured else block.start : block.end])
        scores = answers.scores()
        new = self.corpus.names[block.start : block.end]
        progress.when_learned |= {n: s for n, s in scores["per_procedure"].items() if n in new}
        if block.measured:
            self._stage(method, progress, block.end, answers, scores)

    def learn(self, method: Method, block: Block, suffix: str = "") -> Learned:
        """Learns the tasks of one block; `suffix` tells its checkpoint from the run's own."""
        corpus, names = self.corpus, set(self.corpus.names[block.start : block.end])
        key = (self.key if len(self.blocks) == 1 else f"{self.key}-{block.end}") + suffix
        chosen = [p for p in corpus.procedures if p.name in names]
        logger.info("%s: tasks %d to %d", key, block.start + 1, block.end)
        train = [e for p in chosen for e in corpus.train[p.name]]
        validation = [e for p in chosen for e in corpus.validation[p.name]]
        return learn(method, chosen, train, validation, self.out, key)

    def _answers(self, method: Method, tasks: Sequence[str]) -> ProcedureAnswers:
        examples = [e for name in tasks for e in self.corpus.test[name]]
        if not examples:
            return ProcedureAnswers([], [], [], 0.0)
        answers, forced, seconds = answer_both(method, examples)
        return ProcedureAnswers(examples, answers, forced or answers, seconds / len(examples))

    def _stage(
        self,
        method: Method,
        progress: BlockProgress,
        seen: int,
        answers: ProcedureAnswers,
        scores: Mapping[str, Any],
    ) -> None:
        """Adds the row of a stage, and writes its predictions."""
        name = self.name if len(self.blocks) == 1 else f"{self.name}-{seen}"
        atomic_write_json(self.out / "predictions" / f"{name}.json", answers.predictions())
        row: dict[str, Any] = {"stage": seen, "settings": dict(method.notes), **scores}
        if len(self.blocks) > 1 and method.continual:
            learned = [progress.when_learned.get(task, {}) for task in self.corpus.names[:seen]]
            row |= {f"{name}_when_learned": mean for name, mean in mean_of_each(learned).items()}
        row |= progress.costs()
        if seen == self.blocks[-1].end and answers.examples:
            row["probes"] = {kind: self._probe(method, answers.examples, kind) for kind in self.probes}
        progress.rows.append(row)

    def _probe(self, method: Method, examples: Sequence[Example], kind: Probe) -> dict[str, Any]:
        probed = probe(examples, kind, self.corpus.wordings)
        answers = answer_shared(method, probed)
        scores = score_answers(probed, answers, answers)
        return {name: scores[name] for name in OF_EACH}
