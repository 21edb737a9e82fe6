"""A card: what a student keeps of its teacher, on queries that taught nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tokmem.eval.rouge import rouge_l_of_any_script
from tokmem.records import Answer, Example


@dataclass(frozen=True)
class Card:
    """The outcome of a lesson.

    Attributes:
        procedure: its name.
        tokens: memory tokens that stand for the text.
        teacher, student, no_prompt: ROUGE-L in percent on held-out queries: of the model with the text in its
            prompt, of the memory tokens, and of the model with the query alone.
        routing: share of the held-out queries, in percent, that the bank routes to the procedure.
        measured_by: `references` if the queries have right responses; else `teacher`, whose own greedy
            responses then count as right, so that it scores 100.
        kl: divergence of the student from the teacher, in nats a token of the teacher's responses.
        kl_no_prompt: likewise of the model with the query alone.
        queries, held_out: how many queries taught, and how many measured.
        variety: share of different pairs of neighbouring words in the queries.
        saved_tokens: prompt tokens that a query saves.
        seconds: of the whole lesson; only of its last part, if it was resumed.
        identity: of the lesson, its settings and its queries.
        recipe: of the training settings, the start and the width; empty in cards of older versions.
    """

    procedure: str
    tokens: int
    teacher: float
    student: float
    no_prompt: float
    routing: float
    measured_by: str
    kl: float
    kl_no_prompt: float
    queries: int
    held_out: int
    variety: float
    saved_tokens: float
    seconds: float
    identity: str
    recipe: str = ""


def rouge(examples: Sequence[Example], right: Sequence[str], answers: Sequence[Answer]) -> float:
    """ROUGE-L in percent, in any language, against references, or else against the given responses."""
    accepted = [e.references or (text,) for e, text in zip(examples, right, strict=True)]
    return fmean(rouge_l_of_any_script(a.response, ok) for a, ok in zip(answers, accepted, strict=True))


def saved(teacher: Sequence[Answer], student: Sequence[Answer], tokens: int) -> float:
    """Prompt tokens that a query saves, on average; memory tokens count."""
    return fmean(t.prompt_tokens - s.prompt_tokens for t, s in zip(teacher, student, strict=True)) - tokens
