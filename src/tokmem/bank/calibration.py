"""Fits sharpness, balance and least fit of closed-form addresses to states that are left out one at a time.

A state that has entered a mean or the covariance scores far too well. The sums give its score without itself:
its procedure's mean loses the state, and each covariance loses one rank.

Letters: N kept states, P procedures, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from tokmem.bank.addresses import Reference, call_row, discriminants, fit, inverse, shrunk, unit_row
from tokmem.bank.statistics import Statistics
from tokmem.errors import BankError

_MISSED = 0.05  # share of known procedures' states whose memory token may lose to an ordinary token
_HALVINGS = 60


class LeftOut(NamedTuple):
    """Scores and distances of states, each by statistics without the state.

    Attributes:
        states: (N, d) the states.
        scores: (N, P) by procedure in the order of the statistics' names.
        labels: (N,) index of each state's own procedure.
        distance: (N,) d_mu^2, squared distance to the common mean under S.
        apart: (N,) d_0^2, the same under the covariance of all states but those of the own procedure.
    """

    states: Tensor
    scores: Tensor
    labels: Tensor
    distance: Tensor
    apart: Tensor

    @property
    def own(self) -> Tensor:
        """(N,) score of the right procedure."""
        return self.scores.gather(1, self.labels[:, None])[:, 0]

    @property
    def others(self) -> Tensor:
        """(N,) best score of a wrong procedure, as if the bank did not hold the right one."""
        return self.scores.scatter(1, self.labels[:, None], -torch.inf).amax(-1)

    @property
    def stranger_fits(self) -> Tensor:
        """(N,) best fit of a wrong procedure, as if the bank did not hold the right one."""
        return fit(self.distance - 2 * self.others, self.apart)


def left_out(statistics: Statistics, states: Mapping[str, Tensor], reference: Reference) -> LeftOut:
    """Scores each kept state without its own share of its procedure's mean and of the covariances.

    With a = h - mu_m and c = n / ((n - 1) freedom), the mean becomes (n mu_m - h) / (n - 1) and the metric
    S - c a a^T. The scores keep the common mean, because their differences do not depend on it. A fixed
    reference does not follow the states of later stages, so its metric stays.

    Args:
        statistics: of P procedures; they have seen the states.
        states: (n, d) kept states by procedure; a procedure's only state is not scored.
        reference: metric, background and mean of these statistics.
    """
    names, means, mean = statistics.names, statistics.means(), reference.mean
    chosen = [n for n in names if n in states and statistics.counts[n] > 1]
    labels = torch.tensor([names.index(n) for n in chosen for _ in states[n]], dtype=torch.long)
    kept = torch.cat([statistics.scatter[:0], *(states[n].detach().cpu().double() for n in chosen)])
    count = torch.tensor([statistics.counts[n] for n in names]).double()[labels]
    share = count / ((count - 1) * statistics.freedom)
    own = _Downdate(reference.metric, kept - means[labels], share * (statistics.reference is None))
    scores = discriminants(means, reference.metric, mean).scores(kept) + own.more(
        kept, means - mean, (means + mean) / 2
    )
    without = (count[:, None] * means[labels] - kept) / (count - 1)[:, None]
    right = own.product(without - mean, kept - (without + mean) / 2)
    away, total = kept - mean, statistics.total
    return LeftOut(
        kept,
        scores.scatter(1, labels[:, None], right[:, None]),
        labels,
        own.product(away, away),
        _without(reference.background, away, means[labels] - mean, count, total),
    )


def _without(background: Tensor, away: Tensor, gone: Tensor, count: Tensor, total: int) -> Tensor:
    """(N,) squared distances to the common mean of the states that remain without `count` others.

    The mean of the removed states is `gone` away from the common mean. The common mean moves by
    r = count / (total - count) of that in the other direction; the covariance loses r gone gone^T.

    Args:
        background: (d, d) covariance of all states.
        away: (N, d) from the common mean to each state.
        gone: (N, d) see above.
        count: (N,) see above.
        total: number of all states.
    """
    ratio = count / (total - count).clamp_min(1)
    moved = away + ratio[:, None] * gone
    return _Downdate(background, gone, ratio).product(moved, moved)


class _Downdate:
    """Products x^T (S - c a a^T)^-1 y, with one rank less for each of N states (Sherman and Morrison).

    The inverse is S^-1 + g z z^T with z = S^-1 a and g = c / (1 - c a . z).
    """

    def __init__(self, metric: Tensor, away: Tensor, share: Tensor) -> None:
        self.inverse = inverse(metric)
        self.solved = away @ self.inverse
        self.gain = share / (1 - share * (away * self.solved).sum(-1))

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """(N, d), (N, d) -> (N,), each state by its own inverse."""
        plain = ((left @ self.inverse) * right).sum(-1)
        return plain + self.gain * (left * self.solved).sum(-1) * (right * self.solved).sum(-1)

    def more(self, kept: Tensor, toward: Tensor, middle: Tensor) -> Tensor:
        """(N, P): what the lost rank adds to toward_j^T S^-1 (h_i - middle_j), with two (P, d) tensors."""
        own = (self.solved * kept).sum(-1, keepdim=True) - self.solved @ middle.T
        return self.gain[:, None] * (self.solved @ toward.T) * own


def fit_sharpness(scores: Tensor, labels: Tensor) -> float:
    """Finds the beta that maximises the likelihood of the right procedures under softmax(beta scores).

    The likelihood is concave in beta, so bisection finds where its slope is zero. One made-up mistake by the
    median margin counts beside the states: without any mistake the best beta would be infinite. Beta is 1 if
    most states have no margin: then the scores do not tell the procedures apart.

    Args:
        scores: (N, P) of left-out states.
        labels: (N,) their procedures.
    """
    if not len(labels) or scores.shape[1] < 2:
        return 1.0
    own = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf).amax(-1, keepdim=True)
    margin = (own - others).abs().median()
    if margin <= 1e-9 * scores.abs().amax():
        return 1.0

    def slope(beta: float) -> float:
        expected = ((beta * scores).softmax(-1) * scores).sum(-1, keepdim=True) - own
        return float(expected.sum() + margin * torch.sigmoid(beta * margin))

    scale = 1.0 / max(float(margin), 1e-12)
    low, high = 1e-3 * scale, scale
    while slope(high) < 0:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def least_fit(found: LeftOut, false_accept: float) -> float:
    """Computes the fit below which no procedure fits.

    Each kept state stands for a query that no procedure fits: its own procedure is removed, also from the
    covariance of all states, and the best of the other procedures gives the fit. A share `false_accept` of
    these fits is above the result. The result is -inf, which every fit exceeds, if there is one procedure
    alone, or if no fit is a finite number.
    """
    fits = found.stranger_fits if found.scores.shape[1] > 1 else found.scores[:0, 0]
    fits = fits[fits.isfinite()]
    return float(fits.quantile(1 - false_accept)) if len(fits) else -float("inf")


def fit_reference(statistics: Statistics, states: Mapping[str, Tensor]) -> Reference:
    """Computes what all addresses share, from a bank's statistics and its kept states.

    The result does not depend on the order in which procedures came.

    Args:
        statistics: of at least one procedure.
        states: kept states by procedure, for calibration; the statistics include them.

    Raises:
        BankError: no procedure has statistics.
    """
    if not statistics.counts:
        raise BankError("no procedures", "statistics of at least one")
    ridge = statistics.policy.ridge
    covariance, mean = statistics.covariance(), statistics.common_mean()
    total = statistics.total_covariance()
    zero = torch.tensor(0.0, dtype=torch.float64)
    metric, background = shrunk(covariance, ridge), shrunk(total, ridge)
    calls = statistics.calls()
    seen = calls.plus(statistics.rest)
    unit = unit_row(seen.covariance, seen.mean)
    call = call_row(calls, statistics.rest, unit, ridge)
    bare = Reference(metric, background, mean, unit, call, zero + 1, zero, zero)
    found = left_out(statistics, states, bare)
    beta = fit_sharpness(found.scores, found.labels)
    level = sum(statistics.levels.values()) / sum(statistics.counts.values())
    scores = beta * found.own + found.states @ call
    bar = float(scores.quantile(_MISSED)) if len(scores) else 0.0
    return replace(
        bare,
        sharpness=zero + beta,
        balance=zero + level - bar,
        least_fit=zero + least_fit(found, statistics.policy.false_accept),
    )


class Ambiguity(NamedTuple):
    """Two procedures that the kept states cannot tell apart.

    Attributes:
        first, second: the procedures, in alphabetical order.
        error: share of their left-out states on which the wrong one of the two scores higher.
    """

    first: str
    second: str
    error: float


def ambiguities(
    statistics: Statistics, states: Mapping[str, Tensor], reference: Reference, least: float = 0.2
) -> list[Ambiguity]:
    """Finds pairs of procedures that take each other's queries; the worst comes first.

    Args:
        statistics: of the procedures.
        states: kept states by procedure.
        reference: of these statistics.
        least: the smallest error that is reported; one half is chance.
    """
    found, names = left_out(statistics, states, reference), statistics.names
    own = found.scores.gather(1, found.labels[:, None])
    # (P, P): how many states of the first procedure score higher for the second one, or as high.
    none = found.scores.new_zeros(len(names), len(names))
    above = none.index_add(0, found.labels, (found.scores > own).to(none))
    as_high = none.index_add(0, found.labels, (found.scores >= own).to(none))
    counts = found.labels.bincount(minlength=len(names))
    errors = (above + as_high.T) / (counts[:, None] + counts).clamp_min(1)
    both = (counts > 0) & (counts > 0)[:, None]
    places = ((errors >= least) & both).triu(1).nonzero().tolist()
    pairs = [Ambiguity(names[i], names[j], float(errors[i, j])) for i, j in places]
    return sorted(pairs, key=lambda pair: (-pair.error, pair.first, pair.second))
