"""Stand-in queries: fixed texts that take a query's place. Each instruction is also read with them.

The states of two procedures whose instructions differ by a word lie close together. With four examples each,
the queries move their means further apart than the instructions do. If both instructions are read with the
same texts, these texts cancel out in the difference of the means, and the instructions remain.

All procedures take the same texts, and none needs another's examples. So the order in which procedures come
does not matter here either.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokmem.records import Example

# Of many kinds, and of no task in particular. Banks keep sums of states that were read with them, and their
# policy names only how many. So these never change, nor does their order.
STAND_INS: tuple[str, ...] = (
    "The train to the coast leaves at nine, and we still have to buy tickets.",
    "What is the capital of the country where she was born?",
    "He opened the window because the room was hot.",
    "Dear Ms Lopez, thank you for the offer. We will answer by Friday. Kind regards, Tom Berg",
    "The soup was cold and the waiter was rude, but I liked the music.",
    "apples, pears, bread, two bottles of milk",
    "If a box holds 12 eggs and 5 are broken, how many are left?",
    "Plants turn light, water and carbon dioxide into sugar and oxygen.",
    "def area(r): return 3.14 * r * r",
    "Once there was a fox who wanted to learn how to swim.",
    "Der Zug nach Berlin hat heute zwanzig Minuten Verspätung.",
    "A: Are you coming tonight? B: I have to work late, maybe tomorrow.",
    "The committee raised the fee from 40 to 55 dollars in March 2019.",
    "umbrella",
    "great phone, the battery lasts two days!!",
    "A museum in the old harbour shows ships, maps and letters of sailors.",
)


def stand_ins(examples: Sequence[Example], count: int) -> list[Example]:
    """Puts stand-in queries under the instructions of a procedure's examples.

    Instructions take turns in alphabetical order, so the order of the examples does not matter. Of more
    instructions than `count`, evenly spread ones are taken.

    Args:
        examples: of one procedure.
        count: how many stand-in queries to take, from the first on.

    Returns:
        `count` examples without turns; none if no example has an instruction.
    """
    wordings = sorted({example.instruction for example in examples if example.instruction.strip()})
    if not wordings:
        return []
    if len(wordings) > count:
        wordings = [wordings[i * len(wordings) // count] for i in range(count)]
    return [
        Example(query, instruction=wordings[i % len(wordings)]) for i, query in enumerate(STAND_INS[:count])
    ]
