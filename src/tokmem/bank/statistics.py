"""Counts and sums of frozen states, from which a bank computes addresses in closed form. They hold no text.

Sums commute. So the order of procedures, in one bank or in several that were learned apart and are merged,
changes only the last bits of float64. A slice keeps the whole scatter. So if slices or branches of one bank
are merged, the scatter that they share counts more than once. The sums reveal the mean of each procedure's
states, and how the states of all procedures together vary about these means.

Letters: P procedures, n states of a procedure, d the backbone's hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tokmem.bank.addresses import Gate, Reference, pack, unpack
from tokmem.bank.moments import Moments
from tokmem.bank.policy import MOMENTS, ClosedForm
from tokmem.errors import BankError

REFERENCE = "reference."


class Statistics:
    """Counts and sums of the states that choose each procedure's memory token.

    The scatter takes most of a file: d (d + 1) / 2 float64 numbers, which is 1.3 MB for d = 576 and 67 MB for
    d = 4,096. States inside responses have one more such matrix, a fixed reference two. A procedure takes d
    float64 numbers.

    Args:
        dim: d.
        policy: how addresses follow from these numbers.
        read_with: what the states were read with (backbone, chat format, prompt mode), by name. Statistics
            that were read with different ones are never added up.

    Attributes:
        counts: n of each procedure.
        sums: (d,) float64 sum of the states of each procedure.
        levels: for each procedure, the sum of the best ordinary logits at its states.
        scatter: (d, d) float64 sum of (h - mean)(h - mean)^T over all states, about their procedures' means.
        rest: of states at which no memory token stands: inside responses, and after the last call. Only banks
            whose procedures are called in chains have them.
        inside: of states inside responses, where procedures take single answers. Recall does not need them:
            it takes a memory token at the end of a prompt alone. An engine may take one anywhere.
        freedom: degrees of freedom of `scatter`: the number of states minus that of procedures.
        gate: made of these numbers when it was last asked for; None if they changed since.
        reference: what addresses are computed with, if it is fixed; None if the sums determine it again each
            time.
    """

    def __init__(self, dim: int, policy: ClosedForm, read_with: Mapping[str, str]) -> None:
        self.dim, self.policy, self.read_with = dim, policy, dict(read_with)
        self.counts: dict[str, int] = {}
        self.sums: dict[str, Tensor] = {}
        self.levels: dict[str, float] = {}
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)
        self.rest, self.inside = Moments(dim), Moments(dim)
        self.freedom = 0
        self.gate: Gate | None = None
        self.reference: Reference | None = None
        self._counted: dict[str, set[int]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Procedures in alphabetical order, so that nothing depends on the order in which they came."""
        return tuple(sorted(self.counts))

    def mean(self, name: str) -> Tensor:
        """(d,) float64 mean of a procedure's states."""
        return self.sums[name] / self.counts[name]

    def means(self, names: Sequence[str] | None = None) -> Tensor:
        """(P, d) float64 means of the given procedures; by default of all, in the order of `names`."""
        chosen = self.names if names is None else names
        rows = [self.mean(name) for name in chosen]
        return torch.stack(rows) if rows else self.scatter.new_zeros(0, self.dim)

    def common_mean(self) -> Tensor:
        """(d,) mean of all states of the procedures."""
        return torch.stack([self.sums[n] for n in self.names]).sum(0) / self.total

    def covariance(self) -> Tensor:
        """(d, d) C: how states vary about their procedures' means."""
        return self.scatter / max(self.freedom, 1)

    def total_covariance(self) -> Tensor:
        """(d, d) how states vary about their common mean: within procedures and between them.

        The part within comes from all states ever seen, of removed procedures too. The part between comes
        from the N states of those that are there.
        """
        away, total = self.means() - self.common_mean(), self.total
        weights = torch.tensor([self.counts[n] for n in self.names], dtype=torch.float64)
        within = self.covariance() * (total - len(weights))
        return (within + (away * weights[:, None]).T @ away) / total

    @property
    def total(self) -> int:
        """N, the number of states of the procedures that are there."""
        return sum(self.counts.values())

    def uncounted(self, name: str, prompts: Sequence[int]) -> list[int]:
        """The places of those prompts that were not counted for this procedure (see `mark_counted`)."""
        seen = self._counted.get(name, ())
        return [place for place, prompt in enumerate(prompts) if prompt not in seen]

    def mark_counted(self, name: str, prompts: Iterable[int]) -> None:
        """Notes the hashes of prompts whose states were added.

        This object keeps the hashes, and no file does. They keep a second training on the same examples from
        counting each state twice.
        """
        self._counted.setdefault(name, set()).update(prompts)

    def add(self, name: str, states: Tensor, levels: Tensor) -> None:
        """Adds states of a procedure, new or known.

        scatter += sum (h - m)(h - m)^T + n k / (n + k) (m - m')(m - m')^T. Here m and n are mean and number
        of the new states; m' and k are those of the states that were added before.

        Args:
            name: the procedure.
            states: (n, d).
            levels: (n,) best ordinary logit at each state.

        Raises:
            BankError: there are no states, or a shape is wrong.
        """
        count = len(states)
        if states.ndim != 2 or not count or states.shape[1] != self.dim or len(levels) != count:
            raise BankError(
                f"states {tuple(states.shape)} and levels {tuple(levels.shape)} of {name!r}",
                f"(n, {self.dim}) and (n,), n at least 1",
            )
        # Some accelerators have no float64.
        states, levels = states.detach().cpu().double(), levels.detach().cpu().double()
        before = self.counts.get(name, 0)
        total, centred = states.sum(0), states - states.mean(0)
        self.scatter = self.scatter + centred.T @ centred
        if before:
            gap = total / count - self.mean(name)
            self.scatter += count * before / (count + before) * torch.outer(gap, gap)
        self.freedom += count - (0 if before else 1)
        self.counts[name] = before + count
        self.sums[name] = total + self.sums[name] if before else total
        self.levels[name] = self.levels.get(name, 0.0) + float(levels.sum())
        self.gate = None

    def calls(self) -> Moments:
        """The moments of all states that choose a memory token."""
        own = Moments(self.dim)
        own.count, own.total = self.total, self.means().new_zeros(self.dim)
        if own.count:
            own.total = torch.stack([self.sums[n] for n in self.names]).sum(0)
            own.scatter = self.total_covariance() * own.count
        return own

    def add_rest(self, states: Tensor) -> None:
        """Adds (n, d) states at which no memory token stands."""
        self.rest, self.gate = self.rest.plus(Moments.of(states)), None

    def add_inside(self, moments: Moments) -> None:
        """Adds states inside responses of single answers."""
        self.inside = self.inside.plus(moments)

    def anywhere(self) -> Statistics | None:
        """A copy for a reader that may take a memory token anywhere; None if states inside are not known."""
        if not self.inside.count:
            return None
        other = self.slice(self.names)
        other.reference, other.rest = None, self.rest.plus(self.inside)
        return other

    def remove(self, names: Iterable[str]) -> None:
        """Forgets procedures' counts and sums.

        Their share of the common scatter stays, because it cannot be told from the rest. The scatter does not
        reveal a single procedure.
        """
        for name in names:
            for kept in (self.counts, self.sums, self.levels, self._counted):
                kept.pop(name, None)
        self.gate = None

    def rename(self, old: str, new: str) -> None:
        """Changes a procedure's name, if it has statistics."""
        if old in self.counts:
            self.counts[new] = self.counts.pop(old)
            self.sums[new] = self.sums.pop(old)
            self.levels[new] = self.levels.pop(old)
            self._counted[new] = self._counted.pop(old, set())

    def slice(self, names: Iterable[str]) -> Statistics:
        """Copies the statistics of some procedures, with the common scatter and reference."""
        other = Statistics(self.dim, self.policy, self.read_with)
        other.scatter, other.freedom, other.reference = self.scatter.clone(), self.freedom, self.reference
        other.rest, other.inside = self.rest, self.inside
        other._take(self, names)
        return other

    def merge(self, other: Statistics) -> None:
        """Adds the statistics of other procedures.

        Raises:
            BankError: the two were read with different things, or have different fixed references.
        """
        self.check_alike(other)
        self.scatter = self.scatter + other.scatter
        self.freedom += other.freedom
        self.rest, self.inside = self.rest.plus(other.rest), self.inside.plus(other.inside)
        self.reference = self.reference or other.reference
        self._take(other, other.names)
        self.gate = None

    def check_alike(self, other: Statistics) -> None:
        """Refuses statistics that cannot be added to these.

        Raises:
            BankError: as `merge`.
        """
        ours, theirs = (one.read_with | asdict(one.policy) for one in (self, other))
        for what in sorted({*ours, *theirs}):
            if ours.get(what) != theirs.get(what):
                raise BankError(
                    f"statistics with {what} {theirs.get(what)}",
                    f"{what} {ours.get(what)}, as the bank has it",
                    "learn these procedures again with that",
                )
        if self.reference and other.reference and not self.reference.same(other.reference):
            raise BankError(
                "two banks whose addresses are held fixed by different first stages",
                "a common first stage",
                "train one of them on from the other, or train both with shared=updated",
            )

    def _take(self, other: Statistics, names: Iterable[str]) -> None:
        for name in names:
            if name in other.counts:
                self.counts[name], self.levels[name] = other.counts[name], other.levels[name]
                self.sums[name] = other.sums[name].clone()
                self.mark_counted(name, other._counted.get(name, ()))

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds: all procedures' sums in the order of `names`, and the packed scatter."""
        names = self.names
        found = {
            "counts": torch.tensor([self.counts[n] for n in names], dtype=torch.int64),
            "levels": torch.tensor([self.levels[n] for n in names], dtype=torch.float64),
            "sums": torch.stack([self.sums[n] for n in names]) if names else self.scatter[:0],
            "scatter": pack(self.scatter),
        }
        for name in MOMENTS:
            if (own := getattr(self, name)).count:
                found |= {name: own.total, f"{name}.scatter": pack(own.scatter)}
        if self.reference is not None:
            found |= {REFERENCE + key: value for key, value in self.reference.tensors().items()}
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What a file holds beside `tensors`, as JSON values."""
        return {
            "names": list(self.names),
            "freedom": self.freedom,
            **{name: count for name in MOMENTS if (count := getattr(self, name).count)},
            "policy": asdict(self.policy),
            "read_with": self.read_with,
        }

    @classmethod
    def restore(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Statistics:
        """Makes statistics of what `facts` and `tensors` returned."""
        sums = tensors["sums"]
        own = cls(sums.shape[1], ClosedForm(**facts["policy"]), facts["read_with"])
        own.counts = dict(zip(facts["names"], tensors["counts"].tolist(), strict=True))
        own.levels = dict(zip(facts["names"], tensors["levels"].tolist(), strict=True))
        own.sums = dict(zip(facts["names"], sums.clone(), strict=True))
        own.scatter, own.freedom = unpack(tensors["scatter"], own.dim), facts["freedom"]
        for name in MOMENTS:
            if name in tensors:
                part = getattr(own, name)
                part.count, part.total = facts[name], tensors[name].clone()
                part.scatter = unpack(tensors[f"{name}.scatter"], own.dim)
        fixed = {
            key.removeprefix(REFERENCE): value for key, value in tensors.items() if key.startswith(REFERENCE)
        }
        own.reference = Reference.restore(fixed) if fixed else None
        return own
