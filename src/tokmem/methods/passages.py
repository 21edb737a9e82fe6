"""Learns passages by heart: all runs side by side in one bank, or one PEFT prompt after the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from tokmem.bank.bank import Bank
from tokmem.bank.init import Start, wide_rows
from tokmem.data.chat import Chat
from tokmem.data.passages import MarkedSequence
from tokmem.data.placement import Placement, insert_memory, memory_position
from tokmem.eval.perplexity import TokenTally
from tokmem.methods.peft_memory import PeftMemory
from tokmem.methods.peft_prompts import KINDS, PeftPrompt
from tokmem.model.backbone import Backbone, input_embedding
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.generate import Recaller
from tokmem.recall.settings import RecallSettings
from tokmem.records import Encoded, Procedure
from tokmem.seeds import generator
from tokmem.train.memorise import MemoriseSettings, RunRecord, train_memories
from tokmem.train.memory_tokens import memorise, tallies
from tokmem.train.settings import FitSettings

Run = Sequence[MarkedSequence]


class PassageMemory(NamedTuple):
    """How passages are held.

    Attributes:
        method: a PEFT method of `KINDS`, or any other name for memory tokens in a bank.
        embeddings: K, memory tokens a run.
        placement: where they stand.
        settings: how to train them.
        dimension: how many leading coordinates of each train; None: all.
        name: names the training in progress bars.
    """

    method: str
    embeddings: int
    placement: Placement
    settings: MemoriseSettings
    dimension: int | None
    name: str


class LearnedPassages(NamedTuple):
    """What training gave.

    Attributes:
        records: of each run.
        written: for each run, the ids written for each sequence.
        seconds: of training, a run.
    """

    records: list[RunRecord]
    written: list[list[list[int]]]
    seconds: float


class PassageLearner:
    """Trains memories that hold passages, and writes the passages out from them.

    Args:
        backbone: loaded.
        training: whether to use the frozen prefix and packed rows.
        recall: how to write.
        start: starting rows of memory tokens.
        seed: of the starting rows.
    """

    def __init__(
        self,
        backbone: Backbone,
        training: FitSettings,
        recall: RecallSettings,
        start: Start,
        seed: int,
    ) -> None:
        self.backbone, self.chat = backbone, Chat(backbone.tokenizer)
        self.training, self.recall = training, recall
        self.start, self.seed = start, seed

    def learn(self, memory: PassageMemory, runs: Sequence[Run]) -> LearnedPassages:
        """Trains a memory for each run, and writes the run's sequences out from it."""
        return (self._with_peft if memory.method in KINDS else self._side_by_side)(memory, runs)

    def untrained(self, memory: PassageMemory, runs: Sequence[Run]) -> list[list[TokenTally]]:
        """Measures how well the backbone predicts each run's sequences without memory tokens."""
        lm = self._reader()
        return [tallies(lm, self._encoded(run, (), memory.placement)) for run in runs]

    def _reader(self) -> MemoryLM:
        """The backbone with an empty bank, which it reads and never predicts."""
        bank = Bank(self.backbone.dim, self.backbone.id_space())
        return MemoryLM(self.backbone.model, bank, writes=False)

    def _side_by_side(self, memory: PassageMemory, runs: Sequence[Run]) -> LearnedPassages:
        """All runs as slots of one bank; each has an equal share of the time."""
        lm = self._reader()
        lm.read.add(
            [Procedure(f"run {number}") for number in range(len(runs))],
            self._start(memory.embeddings, len(runs)),
        )
        tokens = lm.read.memory.values()
        encoded = [self._encoded(run, ids, memory.placement) for run, ids in zip(runs, tokens, strict=True)]
        started = perf_counter()
        with nullcontext() if self.training.packed_rows else lm.padded():
            records = memorise(
                lm,
                encoded,
                memory.settings,
                frozen_prefix=self.training.frozen_prefix and memory.placement == "infix",
                dimension=memory.dimension,
                desc=memory.name,
            )
        seconds = (perf_counter() - started) / len(runs)
        return LearnedPassages(records, self._write(lm, encoded), seconds)

    def _with_peft(self, memory: PassageMemory, runs: Sequence[Run]) -> LearnedPassages:
        """One run after the other, for PEFT's model has one prompt."""
        records, written, spent = [], [], 0.0
        starts = self._start(memory.embeddings, len(runs))
        for number, (run, start) in enumerate(zip(runs, starts, strict=True)):
            prompt = PeftPrompt(
                self.backbone,
                KINDS[memory.method],
                width=memory.embeddings,
                recall=self.recall,
                seed=generator(self.seed, "memorise", number).initial_seed(),
            )
            held = PeftMemory(prompt, self._encoded(run, (), memory.placement))
            if prompt.kind == "prompt_tuning":  # it starts from the rows that memory tokens start from
                held.put([start])
            started = perf_counter()
            records += train_memories(held, memory.settings, f"{memory.name} run {number}")
            spent += perf_counter() - started
            written.append([ids for ids, _ in prompt.write(_prompts(held.sequences))])
        return LearnedPassages(records, written, spent / len(records))

    def _encoded(self, run: Run, memory: Sequence[int], placement: Placement) -> list[Encoded]:
        """BOS, marker, memory tokens (where the placement says) and the sequence, which alone is a target."""
        examples = []
        for sequence in run:
            bos = self.chat.bos
            query = [*([] if bos is None else [bos]), *self.chat.text_ids(sequence.marker)]
            flags = (*[False] * len(query), *[True] * len(sequence.ids))
            plain = Encoded((*query, *sequence.ids), flags, len(query), sequence.marker)
            examples.append(insert_memory(plain, memory, memory_position(placement, query, bos)))
        return examples

    def _start(self, embeddings: int, runs: int) -> Tensor:
        """(R, K, d) starting rows: equal for every method, and independent of the other runs."""
        weight = input_embedding(self.backbone.model).weight
        rows = [
            wide_rows(
                self.start,
                weight,
                [()],
                embeddings,
                generator=generator(self.seed, "memorise", number),
            )
            for number in range(runs)
        ]
        return torch.cat(rows)

    def _write(self, lm: MemoryLM, runs: Sequence[Sequence[Encoded]]) -> list[list[list[int]]]:
        """What the model writes greedily after each marker and memory, as many tokens as the sequence has."""
        prompts = [prompt for run in runs for prompt in _prompts(run)]
        written = iter(Recaller(lm, (), self.recall)(prompts, desc="writing"))
        return [[next(written).text for _ in run] for run in runs]


def _prompts(examples: Sequence[Encoded]) -> list[Sequence[int]]:
    """The tokens before each target."""
    return [e.ids[: e.supervised.index(True)] for e in examples]
