"""The bank: the table of memory tokens. TokMem trains and saves nothing else."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tokmem.bank.closed import close, merged_statistics
from tokmem.bank.renorm import renorm
from tokmem.bank.schema import check_procedure
from tokmem.bank.slots import IdPolicy, IdSpace, SlotMap
from tokmem.bank.statistics import Statistics
from tokmem.bank.table import Table
from tokmem.errors import BankError
from tokmem.records import Composition, Procedure


class Bank(nn.Module):
    """Procedures with their slots, token ids and rows.

    A coupled bank has one table: the output head reads the same row (the address) that the input embedding
    reads (the steering). A decoupled bank (TokMem+DC, Eqs. 7-8) has two tables. If a procedure is several
    tokens wide, only its first slot has an address; the others only steer.

    The bank may also keep a few query states of a procedure: last hidden states that choose it, at the end of
    a query or of an earlier turn, never text. The address of a new procedure trains against them, so that it
    does not win old queries.

    Letters: P procedures, S slots (S = P where all are one token wide), d the backbone's hidden size.

    Attributes:
        states: for each procedure with query states, these states (n, d), float32.
        statistics: of all states that choose a memory token, where addresses are computed in closed form;
            None where they are trained.

    Args:
        dim: d.
        space: the backbone's free token ids.
        coupled: whether address and steering are one parameter.
        policy: the source of token ids; see `SlotMap`.
    """

    slot_ids: Tensor
    head_slots: Tensor
    head_ids: Tensor
    _sorted_ids: Tensor
    _sorted_slots: Tensor

    def __init__(self, dim: int, space: IdSpace, *, coupled: bool = True, policy: IdPolicy = "auto") -> None:
        super().__init__()
        self.coupled = coupled
        self.slots = SlotMap(space, policy)
        self.procedures: dict[str, Procedure] = {}
        self.states: dict[str, Tensor] = {}
        self.statistics: Statistics | None = None
        self.steering = Table(dim)
        self.address = self.steering if coupled else Table(dim)
        for name in ("slot_ids", "head_slots", "head_ids", "_sorted_ids", "_sorted_slots"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.long), persistent=False)
        self._ordered: list[int] = []  # copy of `_sorted_ids` on the host

    def __len__(self) -> int:
        return len(self.procedures)

    def __contains__(self, name: object) -> bool:
        return name in self.procedures

    @property
    def names(self) -> tuple[str, ...]:
        """Procedures in slot order."""
        return self.slots.names

    @property
    def routed(self) -> tuple[str, ...]:
        """The P procedures that a query may choose, in slot order: all but composition tokens."""
        return tuple(name for name in self.names if not self.procedures[name].joins)

    @property
    def dim(self) -> int:
        """d."""
        return self.steering.dim

    @property
    def tables(self) -> tuple[Table, ...]:
        """The distinct tables: one if coupled, (address, steering) if decoupled."""
        return (self.steering,) if self.coupled else (self.address, self.steering)

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """The token ids of each procedure's memory tokens."""
        return {name: self.slots.ids(name) for name in self.names}

    @property
    def trainable_parameters(self) -> int:
        """The number of values that training may change; a decoupled procedure has one address at most."""
        first, routed = self.steering.frozen.shape[0], {*self.routed}
        unused = 0 if self.coupled else sum(len(self.slots.ids(n)) - (n in routed) for n in self.fresh_names)
        return (len(self.tables) * (len(self.slots) - first) - unused) * self.dim

    @property
    def fresh_names(self) -> tuple[str, ...]:
        """The procedures with trainable rows: those added since the last `freeze`."""
        first = self.steering.frozen.shape[0]
        return tuple(n for n, head in zip(self.names, self.slots.heads, strict=True) if head >= first)

    def add(
        self,
        procedures: Sequence[Procedure],
        steering: Tensor,
        address: Tensor | None = None,
        *,
        ids: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        """Adds procedures with their starting rows, which are trainable until `freeze`.

        Args:
            procedures: P new procedures with new names.
            steering: (P, width, d) rows.
            address: (P, d) rows, for a decoupled bank only.
            ids: `width` token ids for each procedure; None takes free ids.

        Raises:
            BankError: a name or id is taken, the shapes do not fit, no id is free, or a procedure cannot be
                saved.
        """
        width = steering.shape[1] if steering.ndim == 3 else 0
        if tuple(steering.shape) != (len(procedures), width, self.dim) or width == 0:
            raise BankError(
                f"steering rows {tuple(steering.shape)}", f"({len(procedures)}, width, {self.dim})"
            )
        if (address is not None) == self.coupled:
            raise BankError(
                f"{'an' if self.coupled else 'no'} address for a {'' if self.coupled else 'de'}coupled bank",
                "addresses for decoupled banks only",
            )
        if address is not None and tuple(address.shape) != (len(procedures), self.dim):
            raise BankError(f"address rows {tuple(address.shape)}", f"({len(procedures)}, {self.dim})")
        for procedure in procedures:
            check_procedure(procedure)
        self.slots.add([p.name for p in procedures], width, ids)
        self.procedures |= {p.name: p for p in procedures}
        frozen = self.steering.frozen.shape[0]
        flat = steering.reshape(-1, self.dim)
        self.steering.set_rows(torch.cat([self.steering.rows(), flat.to(self.steering.frozen)]), frozen)
        if address is not None:
            padded = torch.zeros_like(steering)
            padded[:, 0] = address
            flat = padded.reshape(-1, self.dim)
            self.address.set_rows(torch.cat([self.address.rows(), flat.to(self.address.frozen)]), frozen)
        self._index()

    def _index(self) -> None:
        """Updates the tensors that the layers read to the slot map."""
        device = self.steering.frozen.device
        ids, spans = self.slots.token_ids, self.slots.spans
        heads = [spans[name].start for name in self.routed]
        self.slot_ids = torch.tensor(ids, dtype=torch.long, device=device)
        self.head_slots = torch.tensor(heads, dtype=torch.long, device=device)
        self.head_ids = self.slot_ids[self.head_slots]
        self._sorted_ids, self._sorted_slots = self.slot_ids.sort()
        self._ordered = sorted(ids)

    def find(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Slots of token ids: (...) -> slots (...), is_memory (...). If the latter is False, ignore the slot.

        Takes one binary search for each id. The bank must not be empty.
        """
        place = torch.searchsorted(self._sorted_ids, ids).clamp(max=len(self._sorted_ids) - 1)
        return self._sorted_slots[place], self._sorted_ids[place] == ids

    def ids_within(self, start: int, stop: int) -> Tensor:
        """(R,) rising token ids from `start` to below `stop`; the host does not wait for the device."""
        return self._sorted_ids[bisect_left(self._ordered, start) : bisect_left(self._ordered, stop)]

    def find_head(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Procedure indices of token ids: (...) -> index (...), and whether it is a procedure's first id."""
        slots, is_memory = self.find(ids)
        index = torch.searchsorted(self.head_slots, slots).clamp(max=len(self.head_slots) - 1)
        return index, is_memory & (self.head_slots[index] == slots)

    def freeze(self) -> None:
        """Ends a stage: later training cannot change the rows that are in the bank now."""
        for table in self.tables:
            table.set_rows(table.rows(), len(table))

    def thaw(self, names: Iterable[str] | None = None) -> None:
        """Makes the rows of procedures trainable again; None takes all procedures.

        Their slots move behind those of frozen rows; token ids stay.
        """
        again = {*self.fresh_names, *(self.names if names is None else names)}
        for name in again:
            self.slots.ids(name)
        kept = [name for name in self.names if name not in again]
        order = [*kept, *(name for name in self.names if name in again)]
        spans = self.slots.spans
        moved = [slot for name in order for slot in spans[name]]
        frozen = sum(len(spans[name]) for name in kept)
        for table in self.tables:
            table.set_rows(table.rows()[moved], frozen)
        self.slots.reorder(order)
        self._index()

    @contextmanager
    def only(self, names: Collection[str]) -> Iterator[None]:
        """Freezes all rows but those of the trainable procedures among `names` within the block."""
        fresh = self.fresh_names
        if {*fresh} <= {*names}:
            yield
            return
        self.freeze()
        self.thaw([name for name in fresh if name in names])
        try:
            yield
        finally:
            self.thaw(fresh)

    def snapshot(self) -> Callable[[], None]:
        """Returns a function that puts all rows back, as long as the bank has the same procedures."""
        order, kept = self.names, [(table, table.rows(), len(table.frozen)) for table in self.tables]

        def put_back() -> None:
            self.slots.reorder(order)
            for table, rows, frozen in kept:
                table.set_rows(rows, frozen)
            self._index()

        return put_back

    @torch.no_grad()
    def renorm(self) -> None:
        """Rescales fresh addresses to the mean norm of frozen ones (Eqs. 5-6); if coupled, steering too."""
        old, new = self._head_rows(self.address)
        scaled = renorm(new, old)
        first = self.address.frozen.shape[0]
        fresh = self.head_slots[self.head_slots >= first] - first
        self.address.fresh[fresh] = scaled

    def _head_rows(self, table: Table) -> tuple[Tensor, Tensor]:
        first = table.frozen.shape[0]
        heads = self.head_slots
        return table.frozen[heads[heads < first]], table.fresh.detach()[heads[heads >= first] - first]

    def keep_states(self, name: str, states: Tensor) -> None:
        """Replaces the query states that the bank keeps of a procedure.

        Args:
            name: name of a procedure in the bank.
            states: (n, d) states; n = 0 only drops the old ones.

        Raises:
            BankError: the procedure is unknown, or the shape does not fit.
        """
        self.slots.ids(name)
        if states.ndim != 2 or states.shape[1] != self.dim:
            raise BankError(f"query states {tuple(states.shape)}", f"(n, {self.dim})")
        self.states.pop(name, None)
        if len(states):
            self.states[name] = states.detach().to(self.steering.frozen, copy=True)

    def frozen_states(self) -> tuple[Tensor, Tensor]:
        """The query states (N, d) of frozen procedures, and the token id (N,) that each state chooses."""
        fresh = {*self.fresh_names}
        kept = [(name, states) for name, states in self.states.items() if name not in fresh]
        device = self.steering.frozen.device
        ids = [self.slots.ids(name)[0] for name, states in kept for _ in states]
        parts = [self.steering.frozen.new_zeros(0, self.dim), *(states.to(device) for _, states in kept)]
        return torch.cat(parts), torch.tensor(ids, dtype=torch.long, device=device)

    def put_addresses(self, names: Sequence[str], addresses: Tensor) -> None:
        """Sets the addresses (P, d) of procedures; rows stay frozen or trainable as they were."""
        heads, table = dict(zip(self.names, self.slots.heads, strict=True)), self.address.rows()
        table[[heads[name] for name in names]] = addresses.to(table)
        self.address.set_rows(table, len(self.address.frozen))

    def rows(self, name: str) -> tuple[Tensor, Tensor]:
        """The rows of a procedure: address (d,) and steering (width, d), detached."""
        span = self.slots.slots(name)
        return self.address.rows()[span.start], self.steering.rows()[span.start : span.stop]

    def addresses(self) -> Tensor:
        """(P, d) addresses in slot order, detached."""
        return self.address.rows()[self.head_slots]

    def _keep(self, keep: Sequence[str]) -> None:
        """Drops all rows except those of `keep`; these keep their order, and stay frozen or fresh."""
        spans = self.slots.spans
        kept = [slot for name in keep for slot in spans[name]]
        frozen = sum(slot < self.steering.frozen.shape[0] for slot in kept)
        for table in self.tables:
            table.set_rows(table.rows()[kept], frozen)

    def remove(self, names: Iterable[str]) -> None:
        """Removes procedures and retires their token ids. All other rows and ids stay the same.

        Raises:
            BankError: a procedure is unknown, or a composition token that stays would lose the last
                procedures that it has learned to join.
        """
        gone = set(names)
        for name in gone:
            self.slots.ids(name)
        left = [name for name in self.names if name not in gone]
        self._refuse_stranded(left)
        self._keep(left)
        self.slots.remove([name for name in self.names if name in gone])
        self.procedures = {n: p.among(left) for n, p in self.procedures.items() if n not in gone}
        self.states = {n: states for n, states in self.states.items() if n not in gone}
        if self.statistics is not None:
            self.statistics.remove(gone)
        self._index()

    def _refuse_stranded(self, kept: Collection[str]) -> None:
        """Refuses a removal that takes the last whole pair from a composition token that stays."""
        for name in kept:
            own = self.procedures[name]
            if isinstance(own, Composition) and own.joins_any_of(self.names) and not own.joins_any_of(kept):
                got = f"composition token {name!r} without procedures that it has learned to join"
                raise BankError(got, "all procedures of one of its pairs", f"remove {name!r} too")

    def undo_add(self, names: Sequence[str]) -> None:
        """Removes procedures that were added and never used; their token ids may be given again."""
        ids = [i for name in names for i in self.slots.ids(name)]
        self.remove(names)
        self.slots.release(ids)

    def rename(self, old: str, new: str) -> None:
        """Changes a procedure's name and nothing else."""
        self.slots.rename(old, new)
        renamed = (p.renamed(old, new) for p in self.procedures.values())
        self.procedures = {p.name: p for p in renamed}
        self.states = {new if n == old else n: states for n, states in self.states.items()}
        if self.statistics is not None:
            self.statistics.rename(old, new)

    def slice(self, names: Sequence[str]) -> Bank:
        """A new bank of only the given procedures, frozen, with the same token ids and rows."""
        other = Bank(self.dim, self.slots.space, coupled=self.coupled, policy=self.slots.policy)
        other.merge(self, names)
        other.freeze()
        return other

    def merge(self, other: Bank, names: Sequence[str] | None = None) -> None:
        """Adds procedures of another bank of the same backbone, as fresh rows.

        Token ids are kept where they are free here, else new ones are given; the rows stay the same, unless
        the addresses are computed from statistics that are not frozen: these are computed again.

        Raises:
            BankError: the banks differ in dimension, coupling, id space or in how addresses come about,
                share a name, or no id is free.
        """
        if (self.dim, self.coupled, self.slots.space) != (other.dim, other.coupled, other.slots.space):
            raise BankError(
                f"a bank of dimension {other.dim}, {'' if other.coupled else 'de'}coupled, "
                f"{other.slots.space.rows} rows",
                f"dimension {self.dim}, {'' if self.coupled else 'de'}coupled, {self.slots.space.rows} rows",
                "merge banks of one backbone and one coupling",
            )
        names = other.names if names is None else names
        both = [name for name in names if name in self]
        if both:
            raise BankError(
                f"procedure {both[0]!r} in both banks", "distinct names", "rename one of them first"
            )
        statistics, earlier = merged_statistics(self, other, names), self.statistics
        # Nothing that others competed with: no procedure, and no sums of removed ones.
        alone = not names or not (len(self) or (earlier and earlier.freedom))
        planned = copy.deepcopy(self.slots)  # errors must come before this bank changes
        taken = {*planned.token_ids, *planned.retired}
        clashes = {name: bool(taken.intersection(other.slots.ids(name))) for name in names}
        for name in sorted(names, key=clashes.__getitem__):  # new ids last: they take no id of the others
            ids = other.slots.ids(name)
            planned.add([name], len(ids), None if clashes[name] else [ids])
        device = self.steering.frozen.device
        for name in names:
            address, steering = (rows[None].to(device) for rows in other.rows(name))
            self.add(
                [other.procedures[name]],
                steering,
                None if self.coupled else address,
                ids=[planned.ids(name)],
            )
            if name in other.states:
                self.keep_states(name, other.states[name])
        self.statistics = statistics
        if statistics is not None and statistics.reference is None and not alone:
            close(self)
