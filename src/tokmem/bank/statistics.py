"""What a bank keeps to compute addresses in closed form: counts and sums of frozen states, never text.

Sums commute: the order in which procedures come, in one bank or in several that are merged, changes nothing
but the last bits of float64. What they reveal: of each procedure the mean of its states, and of all together
how states vary about these means.

Letters: P procedures, n states of a procedure, d the backbone's hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from tokmem.bank.addresses import Reference, pack, unpack
from tokmem.errors import BankError, ConfigError

Shared = Literal["frozen", "updated"]
REFERENCE = "reference."


@dataclass(frozen=True)
class ClosedForm:
    """How addresses are computed.

    Attributes:
        shared: what addresses have in common (covariances, common mean, sharpness, balance) is either
            `frozen` after the first stage, so that a row never changes again, or `updated` with every
            procedure: then all rows are computed anew, and a bank is the same whatever the order.
        ridge: share of the mean variance that is added to the covariance in every direction.
        false_accept: share of queries that fit no procedure and may reach one nevertheless.
    """

    shared: Shared = "updated"
    ridge: float = 0.1
    false_accept: float = 0.05

    def __post_init__(self) -> None:
        if self.shared not in get_args(Shared) or self.ridge <= 0 or not 0 < self.false_accept < 1:
            raise ConfigError(
                f"shared {self.shared!r}, ridge {self.ridge}, false_accept {self.false_accept}",
                f"{' or '.join(get_args(Shared))}; above 0; between 0 and 1",
            )


class Statistics:
    """Counts and sums of the states that choose each procedure's memory token.

    In a file the scatter is what costs: d (d + 1) / 2 float64 numbers, which is 1.3 MB for d = 576 and 67 MB
    for d = 4,096; a fixed reference has two more such matrices. A procedure costs d float64 numbers.

    Args:
        dim: d.
        policy: how addresses follow from these numbers.
        read_with: what the states were read with (backbone, chat format, prompt mode), by name; statistics of
            different ones are never added up.

    Attributes:
        counts: n of each procedure.
        sums: (d,) float64 sum of the states of each procedure.
        levels: of each procedure, the sum of the best ordinary logits at its states.
        scatter: (d, d) float64 sum of (h - mean)(h - mean)^T over all states, about their procedures' means.
        freedom: degrees of freedom of `scatter`: its states, less one for each procedure.
        reference: what addresses are computed with where it is held fixed; None where it follows from the
            sums anew each time.
    """

    def __init__(self, dim: int, policy: ClosedForm, read_with: Mapping[str, str]) -> None:
        self.dim, self.policy, self.read_with = dim, policy, dict(read_with)
        self.counts: dict[str, int] = {}
        self.sums: dict[str, Tensor] = {}
        self.levels: dict[str, float] = {}
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)
        self.freedom = 0
        self.reference: Reference | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Procedures in alphabetical order, so that nothing depends on the order in which they came."""
        return tuple(sorted(self.counts))

    def mean(self, name: str) -> Tensor:
        """(d,) float64 mean of a procedure's states."""
        return self.sums[name] / self.counts[name]

    def means(self, names: Sequence[str] | None = None) -> Tensor:
        """(P, d) float64 means of the given procedures, else of all in the order of `names`."""
        chosen = self.names if names is None else names
        rows = [self.mean(name) for name in chosen]
        return torch.stack(rows) if rows else self.scatter.new_zeros(0, self.dim)

    def common_mean(self) -> Tensor:
        """(d,) mean of all states of the procedures."""
        return torch.stack([self.sums[n] for n in self.names]).sum(0) / sum(self.counts.values())

    def covariance(self) -> Tensor:
        """(d, d) C: how states vary about their procedures' means."""
        return self.scatter / max(self.freedom, 1)

    def total_covariance(self) -> Tensor:
        """(d, d) how states vary about their common mean: within procedures and between them."""
        away = self.means() - self.common_mean()
        weights = torch.tensor([self.counts[n] for n in self.names], dtype=torch.float64)
        return (self.scatter + (away * weights[:, None]).T @ away) / (self.freedom + len(weights))

    def add(self, name: str, states: Tensor, levels: Tensor) -> None:
        """Counts states of a procedure, new or known.

        scatter += sum (h - m)(h - m)^T + n k / (n + k) (m - m')(m - m')^T, m and n of the new states, m' and
        k of those that were counted before.

        Args:
            name: the procedure.
            states: (n, d).
            levels: (n,) best ordinary logit at each state.

        Raises:
            BankError: no states, or of another shape.
        """
        count = len(states)
        if states.ndim != 2 or not count or states.shape[1] != self.dim or len(levels) != count:
            raise BankError(
                f"states {tuple(states.shape)} and levels {tuple(levels.shape)} of {name!r}",
                f"(n, {self.dim}) and (n,), n at least 1",
            )
        states, before = states.detach().cpu().double(), self.counts.get(name, 0)
        total, centred = states.sum(0), states - states.mean(0)
        self.scatter = self.scatter + centred.T @ centred
        if before:
            gap = total / count - self.mean(name)
            self.scatter += count * before / (count + before) * torch.outer(gap, gap)
        self.freedom += count - (0 if before else 1)
        self.counts[name] = before + count
        self.sums[name] = total + self.sums[name] if before else total
        self.levels[name] = self.levels.get(name, 0.0) + float(levels.detach().double().sum())

    def remove(self, names: Iterable[str]) -> None:
        """Forgets procedures' counts and sums.

        Their share of the common scatter stays: nothing says which share that is, and how states vary about
        their means is no secret of one procedure.
        """
        for name in names:
            for kept in (self.counts, self.sums, self.levels):
                kept.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        """Changes a procedure's name, where it has statistics."""
        if old in self.counts:
            self.counts[new] = self.counts.pop(old)
            self.sums[new] = self.sums.pop(old)
            self.levels[new] = self.levels.pop(old)

    def slice(self, names: Iterable[str]) -> Statistics:
        """The statistics of some procedures, with the common scatter and reference."""
        other = Statistics(self.dim, self.policy, self.read_with)
        other.scatter, other.freedom, other.reference = self.scatter.clone(), self.freedom, self.reference
        other._take(self, names)
        return other

    def merge(self, other: Statistics) -> None:
        """Adds the statistics of other procedures.

        Raises:
            BankError: they were read with something else, or both hold addresses fixed by other references.
        """
        self.check_alike(other)
        self.scatter = self.scatter + other.scatter
        self.freedom += other.freedom
        self.reference = self.reference or other.reference
        self._take(other, other.names)

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
                    "learn these procedures anew with that",
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

    def tensors(self) -> dict[str, Tensor]:
        """What is written to a file: all procedures' sums in the order of `names`, and the packed scatter."""
        names = self.names
        found = {
            "counts": torch.tensor([self.counts[n] for n in names], dtype=torch.int64),
            "levels": torch.tensor([self.levels[n] for n in names], dtype=torch.float64),
            "sums": torch.stack([self.sums[n] for n in names]) if names else self.scatter[:0],
            "scatter": pack(self.scatter),
        }
        if self.reference is not None:
            found |= {REFERENCE + key: value for key, value in self.reference.tensors().items()}
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What is written beside `tensors`."""
        return {
            "names": list(self.names),
            "freedom": self.freedom,
            "policy": asdict(self.policy),
            "read_with": self.read_with,
        }

    @classmethod
    def restore(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Statistics:
        """Takes up what `facts` and `tensors` gave."""
        sums = tensors["sums"]
        own = cls(sums.shape[1], ClosedForm(**facts["policy"]), facts["read_with"])
        own.counts = dict(zip(facts["names"], tensors["counts"].tolist(), strict=True))
        own.levels = dict(zip(facts["names"], tensors["levels"].tolist(), strict=True))
        own.sums = dict(zip(facts["names"], sums.clone(), strict=True))
        own.scatter, own.freedom = unpack(tensors["scatter"], own.dim), facts["freedom"]
        fixed = {
            key.removeprefix(REFERENCE): value for key, value in tensors.items() if key.startswith(REFERENCE)
        }
        own.reference = Reference.restore(fixed) if fixed else None
        return own
