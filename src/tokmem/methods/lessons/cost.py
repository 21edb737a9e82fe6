"""What a lesson will cost, before it begins."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teacher import Teacher
from tokmem.model.backbone import input_embedding
from tokmem.model.placed import device_of
from tokmem.records import Example
from tokmem.train.defaults import steps_of
from tokmem.train.settings import FitSettings

_PROBE = 128  # tokens of the forward pass that is timed
# A token that is decoded, or trained on, takes so many times as long as one that is read.
_DECODED, _TRAINED = 4, 3


@dataclass(frozen=True)
class Cost:
    """What a lesson will cost, and what a query saves by it.

    Attributes:
        prompt: what the teacher reads, with `...` for the query.
        prompt_tokens: how many tokens that is, without the query's.
        seconds: about how long the lesson takes.
    """

    prompt: str
    prompt_tokens: int
    seconds: float


def cost_of(
    teacher: Teacher,
    settings: LessonSettings,
    training: FitSettings,
    given: int,
    pace: float,
    length: float | None = None,
) -> Cost:
    """Estimates the cost of a lesson.

    Args:
        teacher: has the lesson.
        settings: of the lesson.
        training: how the student will train.
        given: how many queries are given; 0 if they are to be made.
        pace: of `seconds_a_token`.
        length: mean tokens of a response, as `Teacher.response_length` finds it; None takes the most there
            may be.
    """
    ids = teacher.encoder.prompt(teacher.shown(Example("...")))
    queries, length = given or settings.queries, length or settings.max_new_tokens
    decoded = (0 if given else queries * settings.max_query_tokens) + 2 * queries * length
    read = queries * (length + settings.max_query_tokens) + len(ids)
    trained = steps_of(queries, training) * min(training.batch_size, queries) * length
    seconds = (_DECODED * decoded + read + _TRAINED * trained) * pace
    return Cost(str(teacher.chat.tokenizer.decode(ids)), len(ids), seconds)


@torch.no_grad()
def seconds_a_token(model: PreTrainedModel) -> float:
    """Times one forward pass: how long this machine takes to read a token."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _PROBE
    ids = torch.zeros(1, min(_PROBE, most), dtype=torch.long, device=device_of(input_embedding(model)))
    model(ids)  # the first pass is slow
    started = time.perf_counter()
    model(ids).logits.sum().item()
    return (time.perf_counter() - started) / ids.shape[1]
