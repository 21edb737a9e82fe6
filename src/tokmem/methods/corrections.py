"""Corrections: the user says which procedure a query was for, and the memory learns from it on request."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tokmem.bank.closed import close
from tokmem.bank.facts import FACTS
from tokmem.data.jsonl import example_to_json
from tokmem.errors import BankError
from tokmem.locks import lock_folder
from tokmem.log import logger
from tokmem.methods.call_states import best_ordinary
from tokmem.methods.tokmem import TokMem
from tokmem.model.prefix import last_states
from tokmem.records import Answer, Example, Turn


class Corrections:
    """The corrections of one session with a saved bank.

    Where addresses are computed, `learn` adds the states of queries to the statistics, saves the bank, and
    keeps no text. Where addresses are trained, each correction becomes a training example in `file`.

    Args:
        memory: what answers.
        folder: of its bank.
    """

    def __init__(self, memory: TokMem, folder: Path) -> None:
        self.memory, self.folder = memory, folder
        self.file = folder.with_name(f"{folder.name}.corrections.jsonl")
        self._waiting: list[tuple[Example, str]] = []
        self._saved = self._on_disk()

    @property
    def computed(self) -> bool:
        """Whether the bank computes its addresses, so that it can learn at once."""
        return self.memory.bank.statistics is not None

    def add(self, query: Example, procedure: str) -> Answer:
        """Notes that a query is for a procedure, and answers it with that procedure.

        Raises:
            BankError: the bank has no such procedure, or one that has learned nothing.
        """
        if self.memory[procedure].joins:  # also refuses an unknown one
            got = f"a correction to {procedure!r}, a composition token"
            raise BankError(got, "a procedure that queries choose")
        statistics = self.memory.bank.statistics
        if statistics is not None and procedure not in statistics.counts:
            raise BankError(
                f"a correction to {procedure!r}, which has learned nothing",
                "a procedure with examples",
                f"tokmem bank add {self.folder} --examples FILE",
            )
        answer = self.memory.recall([query], [[procedure]])[0]
        if self.computed:
            self._waiting.append((query, procedure))
        else:
            example = Example(query.query, (Turn(procedure, answer.response),), query.instruction)
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(example_to_json(example), ensure_ascii=False) + "\n")
        return answer

    def learn(self) -> int:
        """Learns the corrections that wait, saves the bank, and returns how many there were.

        A query's state counts as often as its procedure needs to win it, at most as often as all states
        before it. If another process has saved the bank meanwhile, its bank learns them.
        """
        if not self._waiting:
            return 0
        with lock_folder(self.folder):
            if self._on_disk() not in (self._saved, b""):
                self.memory.restore(self.folder)
            known = [one for one in self._waiting if self._knows(one[1])]
            for query, procedure in known:
                learn_correction(self.memory, query, procedure)
            self.memory.save(self.folder)
            self._saved = self._on_disk()
        self._waiting.clear()
        return len(known)

    def _on_disk(self) -> bytes:
        """What the saved bank says of itself, with the checksums of its files; nothing if there is none."""
        try:
            return (self.folder / FACTS).read_bytes()
        except FileNotFoundError:
            return b""

    def _knows(self, procedure: str) -> bool:
        """Whether the bank has learned a procedure. Another process may have removed it."""
        statistics = self.memory.bank.statistics
        known = statistics is not None and procedure in statistics.counts
        if not known:
            logger.warning("a correction to %s is lost: the bank has no such procedure any more", procedure)
        return known


@torch.no_grad()
def learn_correction(memory: TokMem, query: Example, procedure: str) -> None:
    """Adds the state of a query to a procedure's statistics until the procedure wins the query.

    Args:
        memory: with a bank that computes its addresses.
        query: only query and instruction are read.
        procedure: what the query is for.
    """
    bank = memory.bank
    assert bank.statistics is not None
    state = last_states(memory.lm, [memory.encoder.prompt(query)])
    levels = best_ordinary(memory.lm, state)
    for _ in range(bank.statistics.counts[procedure]):
        bank.statistics.add(procedure, state, levels)
        close(bank, [procedure])
        scores = bank.addresses().float() @ state[0].float().to(bank.addresses().device)
        if bank.routed[int(scores.argmax())] == procedure:
            return
