"""What the page does with one memory; each call takes and gives JSON's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from tokmem.bank.facts import FACTS
from tokmem.data.calls.schema import signature
from tokmem.data.coerce import as_query
from tokmem.data.encode import PromptMode
from tokmem.data.fields import take
from tokmem.errors import BankError, DataError
from tokmem.locks import lock_folder
from tokmem.log import Callback
from tokmem.methods.base import Base
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tokmem_lora import BANK
from tokmem.model.converted import file_sha256
from tokmem.records import Answer, Example, Procedure
from tokmem.report.answers import answer_lines, answer_record

Record = dict[str, Any]


class Session(Callback):
    """One memory that a page talks to; its calls wait for each other.

    Args:
        memory: a loaded bank.
        folder: where `save` writes the bank.

    Attributes:
        done, steps: how far the training of a new procedure is.
    """

    def __init__(self, memory: TokMem, folder: Path) -> None:
        self.memory, self.folder, self.changed = memory, folder, False
        self._saved = self._digest()
        self.done = self.steps = 0
        self.calls = {
            call.__name__: call
            for call in (self.state, self.recall, self.plain, self.prompted, self.add, self.remove, self.save)
        }
        self._lock = Lock()

    def call(self, name: str, given: Record) -> Record:
        """Runs a call by name, one at a time.

        Raises:
            TokMemError: the call is unknown, or fails.
        """
        if name == "progress":
            return {"done": self.done, "steps": self.steps}
        if name not in self.calls:
            raise DataError(f"call {name!r}", f"one of {', '.join(self.calls)}")
        with self._lock:
            return self.calls[name](given)

    def state(self, _: Record) -> Record:
        """The procedures of the bank."""
        procedures = [
            {"name": name, "description": one.description, "tool": one.parameters is not None}
            for name, one in self.memory.procedures.items()
        ]
        return {
            "bank": str(self.folder),
            "backbone": self.memory.backbone.id,
            "changed": self.changed,
            "instructed": self.memory.prompt == "instruction+query",
            "procedures": procedures,
        }

    def recall(self, given: Record) -> Record:
        """Routes a query and answers it; `procedure` forces one. `verdict` says why none was recalled."""
        forced = given.get("procedure")
        answer = self.memory.recall([_query(given)], [[str(forced)]] if forced else None, top_k=5)[0]
        return answer_record(answer, self.memory.procedures) | {"verdict": _verdict(answer)}

    def plain(self, given: Record) -> Record:
        """The frozen model's answer to the same query, without memory token."""
        return self._bare(_query(given), self.memory.prompt)

    def prompted(self, given: Record) -> Record:
        """The frozen model's answer when the prompt describes a procedure; `told` is what it says."""
        query = _query(given)
        told = _description(self.memory[take(given, "procedure", str, "the query")])
        instruction = f"{told}\n{query.instruction}".strip()
        return {"told": told} | self._bare(replace(query, instruction=instruction), "instruction+query")

    def _bare(self, query: Example, prompt: PromptMode) -> Record:
        memory = self.memory
        base = Base(
            memory.backbone,
            prompt=prompt,
            max_length=memory.max_length,
            chat=memory.chat,
            recall=memory.recall_settings,
        )
        (answer,) = base.answer([query])
        return {"response": answer.response, "prompt_tokens": answer.prompt_tokens}

    def add(self, given: Record) -> Record:
        """Learns a new procedure from its examples; the other procedures' rows stay as they are."""
        name = take(given, "name", str, "the procedure").strip()
        pairs = _pairs(take(given, "examples", list, "the procedure"))
        if not name or len(pairs) < 2:
            raise DataError(
                f"a name and {len(pairs)} examples" if name else "a procedure without a name",
                "a name and at least two examples, five or more to learn well",
            )
        self.memory.bank.freeze()
        self.memory.add(name, str(given.get("description", "")))
        try:
            report = self.memory.fit(pairs, procedure=name, callbacks=[self])
        except BaseException:
            self.memory.remove(name)
            raise
        self.changed = True
        return self.state({}) | {"seconds": report.seconds, "loss": report.loss}

    def on_begin(self, step: int, steps: int) -> None:
        """Counts the steps of training for the page's bar."""
        self.done, self.steps = step, steps

    def on_step(self, step: int, values: Mapping[str, Any]) -> None:
        """Moves the bar."""
        self.done = step

    def remove(self, given: Record) -> Record:
        """Removes a procedure."""
        self.memory.remove(take(given, "name", str, "the procedure"))
        self.changed = True
        return self.state({})

    def save(self, _: Record) -> Record:
        """Writes the bank back into its folder.

        Raises:
            BankError: another program has changed the folder since the page opened or saved it.
        """
        with lock_folder(self.folder):
            now = self._digest()
            if now not in (None, self._saved):
                raise BankError(
                    f"{self.folder}, which another program has changed",
                    "the bank as the page opened it",
                    "move that folder away to keep both, then save again",
                )
            self.memory.save(self.folder)
            self._saved = self._digest()
        self.changed = False
        return self.state({})

    def _digest(self) -> str | None:
        """The digest of the saved bank; None if there is none."""
        places = (self.folder / FACTS, self.folder / BANK / FACTS)
        return next((file_sha256(path) for path in places if path.is_file()), None)


def _query(given: Record) -> Example:
    """The query of a call, with its instruction if it has one."""
    query = as_query(take(given, "query", str, "the query"))
    return replace(query, instruction=take(given, "instruction", str, "the query", "").strip())


def _verdict(answer: Answer) -> str:
    """Why no procedure was recalled; empty if one was."""
    lines = answer_lines(answer, {})
    return "" if answer.turns else next((one.text for one in lines if one.label == "recalled"), "")


def _description(procedure: Procedure) -> str:
    """How a prompt describes a procedure."""
    if procedure.parameters is None:
        return procedure.description or procedure.name
    return f"Write the arguments of a call of this tool as JSON.\n{signature(procedure)}"


def _pairs(examples: list[Any]) -> list[tuple[str, str]]:
    """The pairs of a query and its response in which both show something."""
    for one in examples:
        if not (isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) for text in one)):
            raise DataError(f"an example {one!r:.80}", "a list of a query and its response")
    return [(query, response) for query, response in examples if query.strip() and response.strip()]
