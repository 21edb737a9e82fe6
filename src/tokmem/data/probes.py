"""Probes: test queries whose instruction differs from the one in training, shortened or in other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from tokmem.data.corpus import content_rank
from tokmem.errors import DataError
from tokmem.records import Example

Probe = Literal["truncated", "reworded"]


def probe(examples: Sequence[Example], kind: Probe, wordings: Mapping[str, Sequence[str]]) -> list[Example]:
    """Puts the same queries under other instructions.

    Args:
        examples: test examples, each with a turn.
        kind: `truncated` keeps the first half of the instruction's words; `reworded` takes another wording of
            the procedure, chosen by the content of the example.
        wordings: other wordings of a procedure's instruction, by procedure.

    Raises:
        DataError: an example has no instruction, or its procedure has no other wording.
    """
    return [replace(e, instruction=_instruction(e, kind, wordings)) for e in examples]


def _instruction(example: Example, kind: Probe, wordings: Mapping[str, Sequence[str]]) -> str:
    if not example.instruction:
        raise DataError(f"example {example.id!r} has no instruction", "an instruction to shorten or reword")
    if kind == "truncated":
        words = example.instruction.split()
        return " ".join(words[: (len(words) + 1) // 2])
    name = example.turns[0].procedure
    others = wordings.get(name, ())
    if not others:
        raise DataError(f"no other wording of {name!r}", "a corpus with other wordings", "leave reworded out")
    return others[int(content_rank(example.query, name), 16) % len(others)]
