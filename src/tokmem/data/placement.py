"""Where memory tokens stand: after the query (infix, TokMem) or before it (prefix, prompt tuning)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder, PromptMode
from tokmem.errors import ConfigError, DataError
from tokmem.records import Encoded, Example

Placement = Literal["infix", "prefix", "before_bos"]
BeforeQuery = Literal["prefix", "before_bos"]


def check_before(placement: Placement) -> None:
    """Refuses a placement that is not before the query.

    Raises:
        ConfigError: the placement is another one.
    """
    if placement not in ("prefix", "before_bos"):
        raise ConfigError(f"placement {placement!r}", "prefix or before_bos", "correct it")


def memory_position(placement: Placement, query: Sequence[int], bos: int | None) -> int:
    """Returns how many tokens stand before the memory tokens.

    Args:
        placement: `infix`: after the whole query; `prefix`: before it, after BOS; `before_bos`: before all.
        query: ids of everything before the response.
        bos: id of the token that begins a text; None if there is none.
    """
    if placement == "infix":
        return len(query)
    return int(placement == "prefix" and bos is not None and query[:1] == [bos])


def insert_memory(encoded: Encoded, memory: Sequence[int], position: int) -> Encoded:
    """Inserts memory tokens into a sequence; the loss does not read them.

    Args:
        encoded: a sequence without memory tokens.
        memory: ids of the memory tokens.
        position: how many tokens stand before them.
    """
    return replace(
        encoded,
        ids=(*encoded.ids[:position], *memory, *encoded.ids[position:]),
        supervised=(*encoded.supervised[:position], *[False] * len(memory), *encoded.supervised[position:]),
        prefix=position,
    )


class PrefixEncoder(Encoder):
    """Encodes examples with the memory tokens of their procedure before the query; the model only reads them.

    Args:
        chat: the chat format of the backbone.
        memory: ids of the memory tokens of each procedure, by its name.
        placement: `prefix` or `before_bos`.
        prompt: whether the user's text is the instruction and the query, or the query alone.
        max_length: the most tokens in a sequence, memory tokens included.

    Raises:
        ConfigError: as `Encoder`; or the placement is infix.
    """

    def __init__(
        self,
        chat: Chat,
        memory: Mapping[str, tuple[int, ...]],
        *,
        placement: Placement = "prefix",
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
    ) -> None:
        check_before(placement)
        width = max(map(len, memory.values()), default=0)
        super().__init__(chat, memory, prompt=prompt, max_length=max_length - width)
        self.placement: Placement = placement

    def prompt(self, example: Example) -> list[int]:
        """Returns the ids up to the response.

        Raises:
            DataError: the query is empty or cannot be cut short enough, or no memory tokens are known.
        """
        ids = super().prompt(example)
        at = memory_position(self.placement, ids, self.chat.bos)
        return [*ids[:at], *self._memory_of(example), *ids[at:]]

    def encode(self, example: Example) -> Encoded:
        """Encodes the whole sequence; the loss reads the response and the tail.

        Raises:
            DataError: as `prompt`; or the example has no turn, or several.
        """
        if len(example.turns) > 1:
            raise DataError(
                f"example {example.id!r}: {len(example.turns)} turns",
                "one: memory tokens before the query cannot be chained",
                "leave it out, or join its responses",
            )
        encoded = self.encode_plain(example)
        at = memory_position(self.placement, list(encoded.ids[:1]), self.chat.bos)
        return insert_memory(encoded, self._memory_of(example), at)

    def _memory_of(self, example: Example) -> tuple[int, ...]:
        if not example.turns:
            raise DataError(
                f"example {example.id!r} names no procedure",
                "a turn with the procedure whose memory tokens stand before the query",
                "add one (its response may be empty)",
            )
        return self._memory_ids(example.turns[0].procedure, example)
