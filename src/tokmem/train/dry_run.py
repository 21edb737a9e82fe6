"""What a training run would do and cost, found out without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokmem.data.stream import Order
from tokmem.records import Encoded, counted
from tokmem.train.fit import Run, reading
from tokmem.train.objective import Objective
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class DryRun:
    """What `fit` would do.

    Attributes:
        examples: how many examples there are.
        epochs: passes over them; where groups of procedures differ, those of the group that takes most.
        steps: optimizer steps.
        prompt_tokens: tokens of all prompts, once.
        learned_tokens: tokens that the loss reads, once.
        seconds: estimated wall time on this machine, without validation.
        tokens: the first example, token by token: its text, and whether the loss reads it.
        uneven: whether some examples are read in fewer passes.
    """

    examples: int
    epochs: int
    steps: int
    prompt_tokens: int
    learned_tokens: int
    seconds: float
    tokens: tuple[tuple[str, bool], ...]
    uneven: bool = False

    def __str__(self) -> str:
        """The first example and the cost, in words."""
        read, learned = (
            " ".join(repr(text)[1:-1] for text, flag in self.tokens if flag is wanted)
            for wanted in (False, True)
        )
        return (
            f"The first example, a space between tokens.\n  is given:  {read}\n  is learned: {learned}\n"
            f"Cost: {self.steps:,} steps: {'at most ' if self.uneven else ''}{self.epochs:,} times "
            f"{self.examples:,} examples, which hold "
            f"{self.prompt_tokens:,} tokens of prompts and {self.learned_tokens:,} tokens to learn; "
            f"about {spoken(self.seconds)} on this machine."
        )

    @classmethod
    def together(cls, parts: Sequence[DryRun]) -> DryRun:
        """What several runs would do, one after the other."""
        sums = ("examples", "steps", "prompt_tokens", "learned_tokens", "seconds")
        passes = {part.epochs for part in parts}
        own: dict[str, Any] = {name: sum(getattr(part, name) for part in parts) for name in sums}
        return replace(parts[0], epochs=max(passes), uneven=len(passes) > 1, **own)


def spoken(seconds: float) -> str:
    """A duration in words: seconds, minutes or hours."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return counted(max(1, round(seconds)), "second")


def dry_run(
    objective: Objective,
    examples: Sequence[Encoded],
    settings: FitSettings,
    text_of: Callable[[int], str],
    order: Order | None = None,
) -> DryRun:
    """Counts what `fit` would do, and estimates its time from two steps whose gradients are thrown away.

    Args:
        objective: what `fit` would train.
        examples: encoded training examples.
        settings: how to train.
        text_of: the text of a token.
        order: as `fit` takes it.

    Raises:
        TrainingError: there is nothing to train.
    """
    with reading(objective, settings):
        run = Run(objective, examples, settings, order=order)
        first, again = run.timed_step(), run.timed_step()  # the first one also reads a window of prompts
    reads = len(run.windows) * (1 if settings.frozen_prefix else 0)
    learned = sum(sum(one.supervised) for one in examples)
    return DryRun(
        len(examples),
        run.settings.epochs,
        run.steps,
        sum(len(one.ids) for one in examples) - learned,
        learned,
        run.steps * again + reads * max(0.0, first - again),
        tuple(zip(map(text_of, examples[0].ids), examples[0].supervised, strict=True)),
    )
