"""Chooses procedures of a corpus by their names."""

from __future__ import annotations

from collections.abc import Sequence

from tokmem.data.fields import did_you_mean
from tokmem.errors import DataError
from tokmem.log import logger

_NAMED = 5  # procedures that a message names


def choose_procedures(offered: Sequence[str], wanted: Sequence[str], count: int | None) -> tuple[str, ...]:
    """Chooses procedures of a corpus, in the order of the corpus.

    Args:
        offered: the procedures of the corpus.
        wanted: those to take; empty: all.
        count: how many of them to take; None: all.

    Raises:
        DataError: the corpus lacks one that is wanted, or has fewer than `count`.
    """
    for name in wanted:
        if name not in offered:
            raise DataError(
                f"no procedure {name!r}{did_you_mean(name, offered)}",
                "a procedure of the corpus",
                "correct it",
            )
    chosen = tuple(name for name in offered if not wanted or name in wanted)
    if count is not None and count > len(chosen):
        got = f"num_tasks {count} of {len(chosen)} procedures ({_first(chosen)})"
        raise DataError(got, f"at most {len(chosen)}", "lower it, or leave it out to take all")
    return chosen[:count]


def known_procedures(offered: Sequence[str], known: Sequence[str], where: str) -> tuple[str, ...]:
    """Chooses the procedures of a corpus that a bank knows, in the order of the bank; warns of the others.

    Args:
        offered: the procedures of the corpus.
        known: the procedures of the bank.
        where: names the corpus in messages.

    Raises:
        DataError: the bank knows none of them.
    """
    both = tuple(name for name in known if name in offered)
    if not both:
        got = f"{where}: no procedure of the bank"
        raise DataError(got, f"one of {_first(known)}", "check bank and corpus")
    left = [name for name in offered if name not in both]
    if left:
        count = f"{len(left)} of {len(offered)}"
        logger.warning("%s: left out what the bank does not know (%s): %s", where, count, _first(left))
    return both


def _first(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
