"""Scores worked answers in the format of GSM8K: the form of their end, and the final number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tokmem.errors import DataError
from tokmem.records import Answer, Example

_FINAL = re.compile(r"^#### (-?\d[\d,]*(?:\.\d+)?)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class ReasoningScores:
    """Scores of many answers, in percent.

    Attributes:
        compliance: share of answers with a line `#### number`. The number may have decimals, as the
            data set's own reader allows.
        exact_match: share of answers with the right number.
        count: number of answers.
    """

    compliance: float
    exact_match: float
    count: int


def final_answer(text: str) -> str | None:
    """Returns the number after the first line `#### number`, without thousands commas; None without one."""
    match = _FINAL.search(text)
    return match[1].replace(",", "") if match else None


def score_reasoning(references: Sequence[str], responses: Sequence[str]) -> ReasoningScores:
    """Compares final answers as numbers of any length.

    Args:
        references: worked answers, each with its `####` line.
        responses: the generated answers.

    Raises:
        DataError: there are none, their numbers differ, or a reference has no final answer.
    """
    if not references or len(references) != len(responses):
        raise DataError(
            f"{len(references)} references and {len(responses)} responses", "equal numbers, at least one"
        )
    wanted, got = [final_answer(t) for t in references], [final_answer(t) for t in responses]
    for number, (text, answer) in enumerate(zip(references, wanted, strict=True)):
        if answer is None:
            raise DataError(f"reference {number} has no line `#### number`: {text[-60:]!r}", "a final answer")
    share = 100.0 / len(got)
    right = sum(  # Python makes no int of more than 4,300 digits
        g is not None and w is not None and Decimal(g) == Decimal(w) for g, w in zip(got, wanted, strict=True)
    )
    return ReasoningScores(share * sum(g is not None for g in got), share * right, len(got))


def predictions(examples: Sequence[Example], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """For each problem, what was expected and what was written."""
    return [
        {
            "id": e.id,
            "question": e.query,
            "answer": e.accepted[0],
            "response": a.response,
            "expected": final_answer(e.accepted[0]),
            "found": final_answer(a.response),
        }
        for e, a in zip(examples, answers, strict=True)
    ]
