"""Composition tokens: one more memory token says that the procedures before it count together.

Memory tokens of two procedures, one behind the other, have never stood before one response, so their model
may follow one of them alone. A composition token stands behind them: ``query [a] [b] [both] response``. It
learns from examples of pairs, and only its steering row trains. The idea is that of Radevski et al. 2026
(arXiv 2601.05062). Their token learns from the model's own answers to both instructions.

It is a procedure of the bank that has no address (`Procedure.joins`), so no query and no position of a chain
chooses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from tokmem.bank.bank import Bank
from tokmem.data import read_jsonl
from tokmem.data.coerce import ExamplesLike, as_examples
from tokmem.data.fields import did_you_mean
from tokmem.errors import BankError, DataError
from tokmem.methods.closed import encode_given, reader
from tokmem.methods.counting import ClosedMemory
from tokmem.records import Composition, Example, Procedure, Turn
from tokmem.train.bank_objective import BankObjective
from tokmem.train.defaults import settled, warn_unlearned
from tokmem.train.fit import fit
from tokmem.train.settings import FitReport, FitSettings

Compositions: TypeAlias = Mapping[tuple[str, ...], ExamplesLike]

_PAIRS = '{("a", "b"): [(query, response)]}'


class Composing(ClosedMemory, Protocol):
    """What a memory needs to train composition tokens. `TokMem` has it, and takes `compose` from here."""

    given_settings: FitSettings | None

    def _add(self, procedures: Sequence[Procedure]) -> None:
        """Adds procedures whose schemas are checked."""

    def _trained(self, report: FitReport, examples: Sequence[Example]) -> FitReport:
        """Notes what the bank was trained on; returns the report."""

    def compose(self, name: str, pairs: Compositions | str | Path, **changes: Any) -> FitReport:
        """Adds and trains a composition token, which stands behind two or more procedures to join them.

        Recall takes it as the last of them: `memory.recall(query, [[("summarise", "french", "both")]])`. Its
        row fits the rows of these procedures as they are now, so do not train them on afterwards.
        To remove the last of these procedures, remove the token too.

        Args:
            name: of the composition token.
            pairs: examples by the procedures that make their response together, as in
                `{("summarise", "french"): [(query, response)]}`; or the path of a file that `read_pairs`
                takes. Several pairs teach what they share.
            changes: to the training settings, as `fit` takes them.

        Returns:
            Steps, time and loss. There is no checkpoint: a training that fails leaves the bank as it was.

        Raises:
            BankError: the name is taken, the bank is coupled, or no token id is free.
            ConfigError: there is no such setting.
            DataError: `pairs` is no such mapping or file, or names procedures that cannot be composed.
            TrainingError: training failed.
        """
        given = read_pairs(Path(pairs)) if isinstance(pairs, str | Path) else pairs
        examples = composed(name, given, self.bank)
        settings = settled(self.given_settings, changes, len(examples), self.backbone)
        self._add([Composition(name, "Joins the procedures before it.", pairs=tuple(given))])
        try:
            with self.bank.only([name]):
                objective = BankObjective(reader(self), **settings.prefixes, seed=settings.seed)
                report = fit(objective, encode_given(self, examples), settings)
                return self._trained(warn_unlearned(report, [name]), examples)
        except BaseException:
            self.bank.undo_add([name])
            raise


def read_pairs(path: Path) -> dict[tuple[str, ...], list[Example]]:
    """Reads examples of several procedures from JSON lines, by these procedures.

    A line has `query` and `turns`. The last turn has the response of all; the others have an empty one. If
    lines have a `split`, those of the split `train` count.

    Raises:
        DataError: a line is not valid.
    """
    pairs: dict[tuple[str, ...], list[Example]] = {}
    for example in read_jsonl(path, "train"):
        pairs.setdefault(tuple(turn.procedure for turn in example.turns), []).append(example)
    return pairs


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
        DataError: `pairs` is no such mapping or holds no example; an example has not exactly one response;
            a key is no tuple of two or more different procedures of the bank, or one of them has learned
            nothing.
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
            responses = [turn.response for turn in example.turns if turn.response]
            if len(responses) != 1:
                got = f"{len(responses)} responses of {', '.join(names)} to {example.query!r:.60}"
                raise DataError(got, "one response, which they make together")
            examples.append(replace(example, turns=(*silent, Turn(name, *responses))))
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


def refuse_joining(bank: Bank, names: Collection[str]) -> None:
    """Refuses to train composition tokens as procedures are trained.

    Raises:
        DataError: one of the names is a composition token's.
    """
    joining = next((name for name in names if name in bank and bank.procedures[name].joins), None)
    if joining is not None:
        raise DataError(f"examples of {joining!r}, a composition token", "pairs of procedures for `compose`")
