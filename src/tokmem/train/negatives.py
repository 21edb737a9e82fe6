"""Selects the states that a bank keeps of a procedure: those that choose its memory token.

In a chain the later turns are routed too, from states after the earlier turns. All these states are constants
while a new procedure trains, because the rows of earlier procedures are frozen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random

from tokmem.data.encode import Encoder
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import last_states
from tokmem.records import Encoded, Example
from tokmem.seeds import stream

Turns = Mapping[int, Sequence[Example]]


def turns_of(examples: Sequence[Example]) -> dict[str, dict[int, list[Example]]]:
    """Maps each procedure and number of a turn (from 0) to the examples with the procedure in that turn."""
    found: dict[str, dict[int, list[Example]]] = {}
    for example in examples:
        for number, turn in enumerate(example.turns):
            found.setdefault(turn.procedure, {}).setdefault(number, []).append(example)
    return found


def draw_evenly(turns: Turns, count: int, draws: Random) -> list[tuple[int, Example]]:
    """Draws turns of a procedure, about equally many of each number.

    Args:
        turns: examples by number of the turn.
        count: number of turns to draw; takes all if there are fewer.
        draws: chooses the examples, and the numbers that get one turn more than others.

    Returns:
        pairs of a turn's number and its example.
    """
    numbers = sorted(turns)
    draws.shuffle(numbers)
    shares = dict.fromkeys(numbers, 0)
    for _ in range(min(count, sum(map(len, turns.values())))):
        shares[min((n for n in numbers if shares[n] < len(turns[n])), key=shares.__getitem__)] += 1
    return [(n, example) for n in sorted(numbers) for example in draws.sample(turns[n], shares[n])]


def before_turn(encoded: Encoded, turn: int, heads: Collection[int]) -> tuple[int, ...]:
    """The tokens before the memory token of a turn.

    Args:
        encoded: an example.
        turn: number of the turn, from 0.
        heads: the first token id of each procedure.
    """
    places = [i for i, token in enumerate(encoded.ids) if i >= encoded.prefix and token in heads]
    return encoded.ids[: places[turn]]


def keep_states(
    lm: MemoryLM, encoder: Encoder, names: Sequence[str], train: Sequence[Example], count: int, seed: int
) -> None:
    """Keeps in the bank a few states of each procedure, at which its memory token is chosen.

    Args:
        lm: the frozen backbone and the bank that keeps the states.
        encoder: makes token ids of examples.
        names: the procedures.
        train: examples of them, among others.
        count: most states of a procedure.
        seed: draws the examples.
    """
    turns, heads = turns_of(train), {ids[0] for ids in lm.bank.memory.values()}
    for name in names:
        chosen = draw_evenly(turns.get(name, {}), count, stream(seed, "negatives", name))
        if chosen:
            before = [before_turn(encoder.encode(e), n, heads) for n, e in chosen]
            lm.bank.keep_states(name, last_states(lm, before))
