"""Assigns token ids to procedures. An assigned id never moves and is never assigned again."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tokmem.errors import BankError
from tokmem.records import has_visible_text

IdPolicy = Literal["auto", "spare", "append"]


@dataclass(frozen=True)
class IdSpace:
    """The token ids that a backbone leaves free.

    Attributes:
        rows: number of rows of the backbone's embedding weight; ids from here on are past its end.
        spare: ids of rows that the backbone never uses (reserved tokens, rows past the tokenizer), in the
            order in which to fill them. A memory token *replaces* such a row.
    """

    rows: int
    spare: tuple[int, ...] = ()


class SlotMap:
    """Assigns `width` consecutive slots to each procedure, and a token id to each slot.

    Slots number the rows of the bank's tables: 0, 1, 2, ... in the order of adding, without gaps. The policy
    decides the ids: ``spare`` fills only spare rows, ``append`` only goes past the end, ``auto`` fills spare
    rows first and then goes past the end. Ids of removed procedures are retired.
    """

    def __init__(self, space: IdSpace, policy: IdPolicy = "auto") -> None:
        if policy not in get_args(IdPolicy):
            raise BankError(f"id policy {policy!r}", f"one of {', '.join(get_args(IdPolicy))}")
        self.space, self.policy = space, policy
        self._ids: dict[str, tuple[int, ...]] = {}
        self._retired: set[int] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Procedures in slot order."""
        return tuple(self._ids)

    @property
    def retired(self) -> tuple[int, ...]:
        """Ids of removed procedures."""
        return tuple(sorted(self._retired))

    def __len__(self) -> int:
        return sum(map(len, self._ids.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    def ids(self, name: str) -> tuple[int, ...]:
        """The token ids of a procedure's memory tokens, in order."""
        if name not in self._ids:
            raise BankError(f"procedure {name!r}", f"one of the bank's {len(self._ids)} procedures")
        return self._ids[name]

    def slots(self, name: str) -> range:
        """The slots of a procedure; `spans` gives those of all procedures at once."""
        self.ids(name)
        return self.spans[name]

    @property
    def spans(self) -> dict[str, range]:
        """The slots of each procedure, in slot order."""
        return {
            name: range(start, start + len(ids))
            for start, (name, ids) in zip(self.heads, self._ids.items(), strict=True)
        }

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Token ids of all slots, in slot order."""
        return tuple(i for ids in self._ids.values() for i in ids)

    @property
    def heads(self) -> tuple[int, ...]:
        """The first slot of each procedure, in order: the slots that have an address."""
        starts, start = [], 0
        for ids in self._ids.values():
            starts.append(start)
            start += len(ids)
        return tuple(starts)

    def _free(self, count: int) -> list[int]:
        taken = self._retired.union(self.token_ids)
        free: list[int] = []
        if self.policy != "append":
            free = [i for i in self.space.spare if i not in taken][:count]
        if self.policy == "spare" and len(free) < count:
            raise BankError(
                f"{count} more memory tokens, and {len(free)} spare rows left in the backbone",
                "as many spare rows as memory tokens",
                "use id policy 'auto' or 'append'",
            )
        past_end = max([self.space.rows - 1, *taken]) + 1
        return free + list(range(past_end, past_end + count - len(free)))

    def add(self, names: Sequence[str], width: int = 1, ids: Iterable[tuple[int, ...]] | None = None) -> None:
        """Assigns ids to new procedures; takes `ids` if they are given (when a bank is loaded or merged)."""
        if width < 1:
            raise BankError(f"width {width}", "at least one memory token a procedure")
        repeated = sorted(n for n, times in Counter(names).items() if n in self._ids or times > 1)
        if repeated:
            raise BankError(f"procedure {repeated[0]!r} twice", "unique names", "rename one, or leave it out")
        for name in names:
            check_name(name)
        if ids is None:
            flat = self._free(width * len(names))
            ids = [tuple(flat[i : i + width]) for i in range(0, len(flat), width)]
        self._ids |= zip(names, self._checked(ids, len(names), width), strict=True)

    def _checked(self, ids: Iterable[tuple[int, ...]], count: int, width: int) -> list[tuple[int, ...]]:
        """Checks that all given ids are free; returns them."""
        given = [tuple(each) for each in ids]
        if [len(each) for each in given] != [width] * count:
            raise BankError(f"token ids {given}", f"{width} a procedure, for {count} procedures")
        taken, spare = self._retired.union(self.token_ids), set(self.space.spare)
        for token in (token for each in given for token in each):
            if token in taken:
                raise BankError(f"token id {token}, already taken", "a free token id")
            if token < self.space.rows and token not in spare:
                raise BankError(
                    f"token id {token}, which the backbone uses", "a spare one, or one past its end"
                )
            taken.add(token)
        return given

    def remove(self, names: Iterable[str]) -> None:
        """Removes procedures and retires their ids."""
        for name in names:
            self._retired.update(self.ids(name))
            del self._ids[name]

    def retire(self, ids: Iterable[int]) -> None:
        """Marks ids as used earlier (when a bank is loaded)."""
        self._retired.update(ids)

    def release(self, ids: Iterable[int]) -> None:
        """Gives retired ids back; nothing was ever trained on them."""
        self._retired.difference_update(ids)

    def reorder(self, names: Sequence[str]) -> None:
        """Changes the slot order of the procedures; ids stay."""
        if sorted(names) != sorted(self._ids):
            raise BankError(f"an order of {len(names)} procedures", f"all {len(self._ids)}, each once")
        self._ids = {name: self._ids[name] for name in names}

    def rename(self, old: str, new: str) -> None:
        """Changes a procedure's name; its slots and ids stay."""
        self.ids(old)
        if new == old:
            raise BankError(f"{old!r} as a new name of {old!r}", "another name")
        if new in self._ids:
            raise BankError(f"procedure {new!r} twice", "a name that the bank does not have yet")
        check_name(new)
        self._ids = {new if name == old else name: ids for name, ids in self._ids.items()}


# Control characters, ends of lines and paragraphs, halves of a surrogate pair.
_UNFIT = ("Cc", "Zl", "Zp", "Cs")


def check_name(name: str) -> None:
    """Refuses a name that tables and files cannot show on one line."""
    if not has_visible_text(name) or any(unicodedata.category(letter) in _UNFIT for letter in name):
        raise BankError(f"a procedure named {name!r}", "a name of visible text on one line", "choose another")
