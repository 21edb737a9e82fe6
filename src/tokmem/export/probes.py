"""Sequences on which an export is compared with the bank."""

from __future__ import annotations

from tokmem.data.encode import Encoder
from tokmem.export.spelling import is_tool
from tokmem.methods.tokmem import TokMem
from tokmem.records import Encoded, Example, Procedure, Turn

ARGUMENTS = '{"place": "Lima", "days": [1, 2.5], "note": "say \\"yes\\""}'
TEXT = "Lima is the capital of Peru."
QUERIES = (
    "Which city is the capital of Peru?",
    "Write the time 14:05 in words.",
    "List the first three months, and then book a table for two.",
    "Thanks! What else can you do?",
)

_ROOM = 1024  # tokens; no probe is as long


def response(procedure: Procedure) -> str:
    """A response that fits the kind of a procedure."""
    return ARGUMENTS if is_tool(procedure) else TEXT


def examples(memory: TokMem) -> list[Example]:
    """Queries with chains of turns: few, but all procedures of a small bank occur."""
    bank = memory.bank
    names = bank.names[:: max(1, len(bank) // 8)][:8]
    turns = [Turn(name, response(bank.procedures[name])) for name in names]
    return [
        Example(query, (turns[(2 * i) % len(turns)], turns[(2 * i + 1) % len(turns)]))
        for i, query in enumerate(QUERIES)
    ]


def probes(memory: TokMem) -> list[Encoded]:
    """The examples as token ids, memory tokens and responses included."""
    encoder = whole_encoder(memory)
    return [encoder.encode(example) for example in examples(memory)]


def whole_encoder(memory: TokMem) -> Encoder:
    """The encoder of a memory without its limit, because an engine cuts no prompt."""
    encoder = memory.encoder
    encoder.max_length = max(encoder.max_length, _ROOM)
    return encoder
