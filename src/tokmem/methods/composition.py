"""Composition tokens: one more memory token says that the procedures before it count together.

Memory tokens of two procedures, one behind the other, have never stood before one response, so their model
may follow one of them alone. A composition token stands behind them: ``query [a] [b] [both] response``. Its
steering row is all that trains, on pairs of procedures; then it composes pairs that it has not seen. After
Radevski et al. 2026 (arXiv 2601.05062), whose token learns from the model's own answers to both instructions.

It is a procedure of the bank that has no address (`Procedure.joins`), so no query and no position of a chain
chooses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from tokmem.bank.bank import Bank
from tokmem.data.coerce import ExamplesLike, as_examples
from tokmem.data.fields import did_you_mean
from tokmem.errors import BankError, DataError
from tokmem.methods.closed import encode_given, reader
from tokmem.methods.counting import ClosedMemory
from tokmem.records import Example, Turn
from tokmem.train.bank_objective import BankObjective
from tokmem.train.defaults import warn_unlearned
from tokmem.train.fit import fit
from tokmem.train.settings import FitReport, FitSettings

Compositions: TypeAlias = Mapping[tuple[str, ...], ExamplesLike]

_PAIRS = '{("a", "b"): [(query, response)]}'


def composed(name: str, pairs: Compositions, bank: Bank) -> list[Example]:
    """Puts a composition token behind the procedures of each pair.

    Args:
        name: the composition token.
        pairs: examples by the procedures that make their response together.
        bank: holds these procedures.

    Returns:
        examples with a turn for each procedure, empty but for the last, which is the composition token's.

    Raises:
        BankError: the bank is coupled.
        DataError: `pairs` is no such mapping or holds no example; a key is no tuple of two or more different
            procedures of the bank, or one of them has learned nothing.
    """
    if bank.coupled:
        got = "a composition token for a coupled bank, whose rows also choose"
        raise BankError(got, "a decoupled one", "set coupled=False")
    if not isinstance(pairs, Mapping):
        raise DataError(f"{type(pairs).__name__} {pairs!r:.60} as pairs", _PAIRS)
    examples = []
    for names, own in pairs.items():
        _check_names(names, bank)
        silent = [Turn(one, "") for one in names]
        for example in as_examples(own, (), name):
            response = next((turn.response for turn in example.turns if turn.response), "")
            examples.append(Example(example.query, (*silent, Turn(name, response)), example.instruction))
    if not examples:
        raise DataError("no examples of any pair", "some", "several pairs teach what they have in common")
    return examples


def _check_names(names: object, bank: Bank) -> None:
    """Refuses what is no tuple of procedures that can be composed."""
    if not isinstance(names, tuple) or len(names) < 2 or len({*names}) < len(names):
        raise DataError(f"{names!r} as procedures to compose", f"two or more different ones, as in {_PAIRS}")
    learned = bank.routed if bank.statistics is None else tuple(bank.statistics.counts)
    for one in names:
        if one not in bank.names:
            hint = did_you_mean(str(one), bank.names)
            raise DataError(f"{one!r} as a procedure to compose{hint}", "procedures of the bank")
        if one not in learned:
            got = f"{one!r} as a procedure to compose, which has learned nothing or is a composition token"
            raise DataError(got, "procedures that were trained", "train it first")


def learn_composition(
    memory: ClosedMemory, name: str, examples: Sequence[Example], settings: FitSettings
) -> FitReport:
    """Trains the steering of a composition token.

    Args:
        memory: its bank has the composition token, which alone is trainable.
        name: the composition token.
        examples: as `composed` makes them.
        settings: how to train.

    Returns:
        steps, time and loss.

    Raises:
        TrainingError: training failed.
    """
    objective = BankObjective(reader(memory), **settings.prefixes, seed=settings.seed)
    return warn_unlearned(fit(objective, encode_given(memory, examples), settings), [name])
