"""Puts demonstrations (solved examples) before a query, as many as fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from tokmem.data.encode import Encoder
from tokmem.errors import DataError
from tokmem.log import logger
from tokmem.records import Demonstration, Example, Turn


def only_turn(example: Example) -> Turn:
    """Returns the one turn of an example.

    Raises:
        DataError: the example has no turn or several; a demonstration shows one response.
    """
    if len(example.turns) != 1:
        raise DataError(
            f"example {example.id or example.query[:40]!r}: {len(example.turns)} turns",
            "one procedure and its response",
            "leave it out, or use a method that chains",
        )
    return example.turns[0]


def demonstration(example: Example, instruction: str | None = None) -> Demonstration:
    """Makes a demonstration of an example with one turn.

    Args:
        example: the solved example.
        instruction: text before its query; None takes the instruction of the example that follows.

    Raises:
        DataError: the example has no turn, or several.
    """
    return Demonstration(example.query, only_turn(example).response, instruction)


def refuse_demonstrations(examples: Iterable[Example]) -> None:
    """Refuses examples that bring their own demonstrations if the method chooses them.

    Raises:
        DataError: an example has demonstrations.
    """
    for example in examples:
        if example.demonstrations:
            raise DataError(
                f"example {example.id or example.query[:40]!r}: {len(example.demonstrations)} demonstrations",
                "none: this method chooses them itself",
                "load the corpus without (few_shot 0)",
            )


def fit_demonstrations(
    encoder: Encoder, examples: Sequence[Example], drop: Literal["first", "last"]
) -> list[Example]:
    """Drops demonstrations until each prompt fits the encoder's ``max_length``; the log counts them.

    Args:
        encoder: makes the prompts.
        examples: examples with the demonstrations to show.
        drop: which demonstration goes first.

    Returns:
        The examples with the demonstrations that fit.
    """
    fitted, dropped, queries = [], 0, 0
    for example in examples:
        shown = example
        while shown.demonstrations and encoder.length(shown) > encoder.max_length:
            kept = shown.demonstrations[1:] if drop == "first" else shown.demonstrations[:-1]
            shown = replace(shown, demonstrations=kept)
        fitted.append(shown)
        dropped += len(example.demonstrations) - len(shown.demonstrations)
        queries += shown is not example
    if dropped:
        logger.warning(
            "%d demonstrations of %d queries were dropped to fit %d tokens",
            dropped,
            queries,
            encoder.max_length,
        )
    return fitted
