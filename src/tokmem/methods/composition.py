"""Composition tokens: one more memory token says that the procedures before it count together.

Memory tokens of two procedures, one behind the other, have never stood before one response, so their model
may follow one of them alone. A composition token stands behind them: ``query [a] [b] [both] response``. Its
steering row is all that trains, on pairs of procedures; then it composes pairs that it has not seen. After
Radevski et al. 2026 (arXiv 2601.05062), whose token learns from the model's own answers to both instructions.

It is a procedure of the bank like others, but no query may call for it alone. So its address is one that no
state reaches (see `out_of_reach`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torch import Tensor

from tokmem.data.coerce import Pair
from tokmem.data.fields import did_you_mean
from tokmem.errors import BankError, DataError
from tokmem.methods.call_states import prompt_states
from tokmem.methods.closed import encode_given, reader
from tokmem.methods.counting import ClosedMemory
from tokmem.records import Example, Turn
from tokmem.train.bank_objective import BankObjective
from tokmem.train.defaults import warn_unlearned
from tokmem.train.fit import fit, reading
from tokmem.train.settings import FitReport, FitSettings

Compositions: TypeAlias = Mapping[tuple[str, ...], Sequence[Pair]]
LOGIT = (
    -1000.0
)  # of a composition token where it would be chosen; ordinary logits lie within some tens of zero


def composed(name: str, pairs: Compositions, known: Sequence[str]) -> list[Example]:
    """Puts a composition token behind the procedures of each pair, in examples whose last turn responds.

    Args:
        name: the composition token.
        pairs: queries and responses, by the procedures that make the response together.
        known: procedures of the bank.

    Raises:
        DataError: there are no pairs, a key is no tuple of two or more different procedures of the bank, or a
            value is no list of pairs.
    """
    examples = []
    for names, own in pairs.items():
        if not isinstance(names, tuple) or len({*names}) < max(2, len(names)):
            wanted = 'two or more different procedures, such as {("a", "b"): [(query, response)]}'
            raise DataError(f"{names!r} as procedures to compose", wanted)
        unknown = next((one for one in names if one not in known), None)
        if unknown is not None:
            raise DataError(
                f"{unknown!r} as a procedure to compose{did_you_mean(unknown, known)}",
                "procedures of the bank",
            )
        for pair in own:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise DataError(f"{pair!r:.60} as an example of {names}", "a pair (query, response)")
            silent = [Turn(one, "") for one in names]
            examples.append(Example(pair[0], (*silent, Turn(name, pair[1]))))
    if not examples:
        raise DataError(
            "no pairs of procedures", "examples of some", "more pairs teach what they have in common"
        )
    return examples


def out_of_reach(states: Tensor) -> Tensor:
    """(N, d) states -> (d,) address whose logit is `LOGIT` at their mean m: LOGIT m / (m . m).

    States at the ends of prompts have a large part in common, so the logit is far below others at all of
    them.
    """
    mean = states.float().mean(0)
    return LOGIT * mean / mean.dot(mean)


def learn_composition(
    memory: ClosedMemory, name: str, examples: Sequence[Example], settings: FitSettings
) -> FitReport:
    """Trains the steering of a composition token, and puts its address out of reach.

    Args:
        memory: its bank has the composition token, which alone is trainable.
        name: the composition token.
        examples: as `composed` makes them.
        settings: how to train.

    Raises:
        BankError: the bank is coupled.
    """
    if memory.bank.coupled:
        raise BankError(
            "a composition token for a coupled bank, whose rows also choose",
            "a decoupled one",
            "set coupled=False",
        )
    encoded = encode_given(memory, examples)
    objective = BankObjective(reader(memory), **settings.prefixes, seed=settings.seed)
    report = warn_unlearned(fit(objective, encoded, settings), [name])
    with reading(objective, settings):
        states = prompt_states(objective, encoded, settings.stream(len(encoded)))
    memory.bank.put_addresses([name], out_of_reach(states)[None])
    return report
