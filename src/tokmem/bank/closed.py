"""Computes a bank's closed-form addresses from its statistics, also after banks are merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from tokmem.bank.addresses import Gate, Reference, rows
from tokmem.bank.calibration import fit_reference
from tokmem.bank.statistics import Statistics
from tokmem.errors import BankError

_ROOM = (
    0.25  # of the way from calls to responses; on `mini` 0.1 answers alike, and 0.5 calls within responses
)


class Bank(Protocol):
    """What this module reads and writes of a `tokmem.bank.bank.Bank`, which imports this module.

    Attributes:
        statistics: those of its states; None if its addresses are trained.
    """

    statistics: Statistics | None

    def __len__(self) -> int:
        """How many procedures it holds."""

    @property
    def names(self) -> tuple[str, ...]:
        """The procedures' names."""

    @property
    def states(self) -> Mapping[str, Tensor]:
        """Kept states by procedure."""

    def put_addresses(self, names: Sequence[str], addresses: Tensor) -> None:
        """Sets the addresses (P, d) of procedures."""


def reference_of(bank: Bank) -> Reference:
    """Finds what all addresses share: the fixed reference, or else one fitted to all statistics.

    Raises:
        BankError: the bank has no statistics of any procedure.
    """
    statistics = bank.statistics
    if statistics is None:
        raise BankError("a bank without statistics", "one that computes its addresses", "learn it again")
    return statistics.reference or fit_reference(statistics, bank.states)


@torch.no_grad()
def close(bank: Bank, names: Iterable[str] = ()) -> None:
    """Computes a bank's addresses from its statistics: see `tokmem.bank.addresses`.

    Args:
        bank: a decoupled bank with statistics. A procedure without any, which has been added and not learned,
            keeps its row.
        names: the newest procedures. If the reference was fixed before, only their addresses are computed and
            every other row stays bit-equal; else all addresses are computed.
    """
    statistics = bank.statistics
    if statistics is None or not statistics.counts:
        return
    reference = reference_of(bank)
    wanted = bank.names if statistics.reference is None else names
    chosen = [name for name in wanted if name in statistics.counts]
    if statistics.policy.shared == "frozen":
        statistics.reference = reference
    statistics.gate = None
    if chosen:
        bank.put_addresses(chosen, rows(statistics.means(chosen), reference))


@torch.no_grad()
def close_anywhere(bank: Bank) -> bool:
    """Computes addresses for a reader that may take a memory token anywhere, as an engine does.

    They hold the row c against states inside responses (see `tokmem.bank.addresses`). With them the scores of
    both kinds of states lie far apart. The balance stands between them:

        gamma = level - (bar - (bar - top) / 4)

    level is the mean best ordinary logit where memory tokens are chosen, bar the score that 95% of the kept
    states reach, and top the best score at the mean state inside responses.

    Args:
        bank: as for `close`.

    Returns:
        Whether the bank's addresses are such now; they stay if its statistics have no states inside
        single answers. Banks of chains have such addresses from the beginning.
    """
    wide = bank.statistics.anywhere() if bank.statistics else None
    if wide is None or not wide.counts:
        return False
    reference, means = fit_reference(wide, bank.states), wide.means()
    level = sum(wide.levels.values()) / wide.total
    top = (rows(means, replace(reference, balance=0 * reference.balance)) @ wide.rest.mean).max()
    room = level - reference.balance - top
    balance = reference.balance + _ROOM * room.clamp_min(0)
    bank.put_addresses(wide.names, rows(means, replace(reference, balance=balance)))
    return True


def gate_of(bank: Bank) -> Gate | None:
    """Gives the gate that says whether any procedure fits a state.

    There is none if addresses are trained, or as long as no procedure has been learned. A single procedure
    has no others to compare distances with. So it has a gate only if its bank keeps a fixed reference.
    """
    statistics = bank.statistics
    if statistics is None or len(statistics.counts) < (2 if statistics.reference is None else 1):
        return None
    if statistics.gate is None:
        statistics.gate = Gate(statistics.means(), reference_of(bank))
    return statistics.gate


def merged_statistics(bank: Bank, other: Bank, names: Sequence[str]) -> Statistics | None:
    """Adds the statistics of a bank and of some procedures of another bank.

    Raises:
        BankError: one bank's addresses are trained and the other's computed, which cannot compete; or both
            are computed in different ways.
    """
    if not names:
        return bank.statistics
    theirs = None if other.statistics is None else other.statistics.slice(names)
    if not len(bank) and not (bank.statistics and bank.statistics.freedom):
        return theirs
    if bank.statistics is None and theirs is None:
        return None
    if bank.statistics is None or theirs is None:
        kinds = ("closed-form", "trained")
        raise BankError(
            f"a bank with {kinds[theirs is None]} addresses",
            f"one with {kinds[bank.statistics is None]} ones, as the bank that it joins",
            "learn one of them again with the other's setting of `addresses`",
        )
    merged = bank.statistics.slice(bank.names)
    merged.merge(theirs)
    return merged
