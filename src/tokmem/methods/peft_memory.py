"""PEFT's soft prompts in memorisation: each run has a prompt of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from tokmem.methods.peft_prompts import PeftPrompt
from tokmem.records import Encoded
from tokmem.train.memorise import Forward


class PeftMemory:
    """One run whose memory is a PEFT prompt: K virtual tokens of D numbers each.

    Args:
        prompt: the prompt to train.
        sequences: the sequences to hold, without memory tokens.
    """

    def __init__(self, prompt: PeftPrompt, sequences: Sequence[Encoded]) -> None:
        self.prompt, self.sequences = prompt, sequences

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """(K, D), the prompt."""
        return self.prompt.parameters

    def rows(self) -> list[Tensor]:
        """(K, D), a copy."""
        (rows,) = self.parameters
        return [rows.detach().clone()]

    def put(self, rows: Sequence[Tensor]) -> None:
        """Replaces the prompt."""
        with torch.no_grad():
            self.parameters[0].copy_(rows[0])

    def tokens(self, run: int) -> int:
        """The number of supervised tokens."""
        return sum(sum(example.supervised) for example in self.sequences)

    def forwards(self, active: Sequence[int], batch_size: int) -> Iterator[Forward]:
        """Runs the sequences, at most `batch_size` at a time; the only run is the active one."""
        for start in range(0, len(self.sequences), batch_size):
            part = self.sequences[start : start + batch_size]
            logits, targets = self.prompt.logits(part)
            losses = nn.functional.cross_entropy(logits, targets, reduction="none")
            correct = partial(_correct, logits.detach(), targets)
            yield Forward([0] * len(part), [sum(e.supervised) for e in part], losses, correct)

    def mask_gradients(self) -> None:
        """Masks nothing: the whole prompt trains."""


def _correct(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.argmax(-1) == targets
