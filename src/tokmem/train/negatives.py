"""Which states a bank keeps of a procedure: those that choose its memory token, wherever in a chain.

In a chain later turns are routed too, from states that have read the turns before. These are constants as the
states of queries are: the rows of earlier turns are frozen when a newcomer trains.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random

from tokmem.records import Encoded, Example

Turns = Mapping[int, Sequence[Example]]


def turns_of(examples: Sequence[Example]) -> dict[str, dict[int, list[Example]]]:
    """Of each procedure, by number of the turn (from 0), the examples in which that turn is its own."""
    found: dict[str, dict[int, list[Example]]] = {}
    for example in examples:
        for number, turn in enumerate(example.turns):
            found.setdefault(turn.procedure, {}).setdefault(number, []).append(example)
    return found


def draw_evenly(turns: Turns, count: int, draws: Random) -> list[tuple[int, Example]]:
    """Draws turns of a procedure, as many of each number as there are, and as alike as can be.

    Args:
        turns: examples by number of the turn.
        count: how many to draw; all, where there are fewer.
        draws: says which, and of which numbers one more where they cannot be alike.

    Returns:
        numbers of turns and the examples that they are of.
    """
    numbers = sorted(turns)
    draws.shuffle(numbers)
    shares = dict.fromkeys(numbers, 0)
    for _ in range(min(count, sum(map(len, turns.values())))):
        shares[min((n for n in numbers if shares[n] < len(turns[n])), key=shares.__getitem__)] += 1
    return [(n, example) for n in sorted(numbers) for example in draws.sample(turns[n], shares[n])]


def before_turn(encoded: Encoded, turn: int, heads: Collection[int]) -> tuple[int, ...]:
    """What stands before a turn's memory token.

    Args:
        encoded: an example.
        turn: its number, from 0.
        heads: the first token id of each procedure.
    """
    places = [i for i, token in enumerate(encoded.ids) if i >= encoded.prefix and token in heads]
    return encoded.ids[: places[turn]]
