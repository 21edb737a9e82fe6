"""A conversation with a server of an exported bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tokmem.bank.store import load_bank
from tokmem.data.encode import as_mode, user_text
from tokmem.records import Answer, Example, Procedure
from tokmem.report.conversation import pieces
from tokmem.serving.client import Client, tool_list


class ServedConversation:
    """Answers queries through a server.

    Args:
        url: its address.
        bank: folder of the bank that it serves. None: there are no procedures to check its calls with.
        max_new_tokens: most tokens in an answer.
        prompt: what a prompt holds. None: what the bank was trained with.
        instruction: stands before each typed query.

    Attributes:
        procedures: those that calls are checked with, by name.
        intro: what a prompt says first.
    """

    intro = "An empty line ends."

    def __init__(
        self, url: str, bank: Path | None, max_new_tokens: int, prompt: str | None, instruction: str = ""
    ) -> None:
        self.instruction = instruction
        self.procedures: Mapping[str, Procedure] = {}
        if bank is not None:
            held, origin = load_bank(bank)
            self.procedures, prompt = held.procedures, prompt or origin.training.get("prompt")
        self._mode = as_mode(prompt or "instruction+query")
        self._client = Client(url, tool_list(self.procedures.values()), max_new_tokens)

    def ask(self, queries: Sequence[Example]) -> list[Answer]:
        """Answers several queries."""
        return [self._client.ask(user_text(self._mode, q.instruction, q.query)) for q in queries]

    def reply(self, line: str) -> Iterator[str]:
        """Yields the reply to a typed line."""
        return pieces(self.ask([Example(line, instruction=self.instruction)]), self.procedures)
