"""Addresses in closed form: linear discriminants between the states that choose each memory token.

The model: states of procedure m are Gaussian about its mean, with one covariance S for all (linear
discriminant analysis). Then log p(h | m) - log p(h | at the common mean) is linear in h, and P(m | h) is a
softmax over it:

    w_m = S^-1 (mu_m - mu),  b_m = -1/2 (mu_m + mu)^T S^-1 (mu_m - mu),  score w_m . h + b_m

An output head has no bias, so u, the ridge solution of u . h = 1, carries it:

    address_m = beta (w_m + b_m u) + gamma u + c

c is zero where a memory token only ever follows a prompt. Where procedures are called in chains, any position
may call one. Then c is the discriminant between the states that choose a memory token and all others (inside
responses, after the last call), so log P(call | h) enters every address.

No row of a head can tell whether any procedure fits: that depends on distances. The statistics give a fit
of 1 - d_m^2 / d_0^2. Here d_m is the Mahalanobis distance to the procedure's mean under S, and d_0 is that to
the common mean under the covariance of all states together.

Sources: discriminants on a stream of frozen features (Hayes and Kanan 2020, arXiv 1909.01520),
RanPAC (arXiv 2307.02251), ACIL (arXiv 2205.14922); relative distances (Ren et al. 2021, arXiv 2106.09022).
The bias in a row of a language model's head, its balance against the vocabulary, and the ratio are new here.

Letters: P procedures, N states, d the backbone's hidden size. All numbers are float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from tokmem.bank.moments import Moments
from tokmem.errors import BankError

_CONTRAST = 4.0  # of `call_row`
_UNIT_RIDGE = 1e-3  # of `unit_row`: 1e-4 to 1e-2 route alike


@dataclass(frozen=True)
class Reference:
    """What all addresses of a bank have in common.

    Attributes:
        metric: (d, d) the shrunk covariance S about each procedure's mean.
        background: (d, d) the shrunk covariance of all states about the common mean.
        mean: (d,) the common mean mu.
        unit: (d,) the row u that carries the bias.
        call: (d,) the row c, large where a memory token stands and small elsewhere; zero outside chains.
        sharpness: () beta.
        balance: () gamma.
        least_fit: () the fit below which no procedure fits.
    """

    metric: Tensor
    background: Tensor
    mean: Tensor
    unit: Tensor
    call: Tensor
    sharpness: Tensor
    balance: Tensor
    least_fit: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """The parts by name, as files hold them: matrices are packed."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: pack(part) if part.ndim == 2 else part for name, part in parts.items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Reference:
        """Makes a reference of what `tensors` returned.

        Raises:
            BankError: a part is missing.
        """
        names = {field.name for field in fields(cls)}
        if set(tensors) != names:
            raise BankError(f"a reference of {sorted(tensors)}", f"{sorted(names)}", "take it from a copy")
        dim = len(tensors["mean"])
        matrices = {name: unpack(tensors[name], dim) for name in ("metric", "background")}
        return cls(**{**tensors, **matrices})

    def same(self, other: Reference) -> bool:
        """Whether both give the same addresses, bit for bit."""
        mine, its = self.tensors(), other.tensors()
        return all(torch.equal(mine[name], its[name]) for name in mine)


class Discriminants(NamedTuple):
    """Linear scores of P procedures.

    Attributes:
        weights: (P, d) w.
        biases: (P,) b.
    """

    weights: Tensor
    biases: Tensor

    def scores(self, states: Tensor) -> Tensor:
        """(N, d) states -> (N, P) scores w . h + b."""
        return states @ self.weights.T + self.biases

    def fold(self, unit: Tensor) -> Tensor:
        """(P, d) rows w + b u, which need no bias where u . h = 1."""
        return self.weights + self.biases[:, None] * unit


def shrunk(covariance: Tensor, ridge: float) -> Tensor:
    """Computes C + ridge tr(C) / d I, (d, d).

    If nothing varies it returns the identity, under which the nearest mean wins.
    """
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    level = covariance.trace() / len(covariance)
    return covariance + ridge * level * eye if level > 0 else eye


def discriminants(means: Tensor, metric: Tensor, mean: Tensor) -> Discriminants:
    """Computes w and b of (P, d) means, for a metric S (d, d) and a common mean mu (d,)."""
    weights = _solve(metric, means - mean)
    return Discriminants(weights, -0.5 * ((means + mean) * weights).sum(-1))


def unit_row(background: Tensor, mean: Tensor) -> Tensor:
    """Computes u, (d,): the ridge solution of u . h = 1 over all states, from their moments.

    (M + r tr(M) / d I) u = mu, with M = E[h h^T] = their covariance + mu mu^T.
    """
    return _solve(shrunk(background + torch.outer(mean, mean), _UNIT_RIDGE), mean[None])[0]


def call_row(calls: Moments, rest: Moments, unit: Tensor, ridge: float) -> Tensor:
    """Computes c, (d,): a multiple of log P(call | h) - log P(no call | h), for equally many of both.

    States without a call vary far more than the others, so one covariance for both makes the log-odds too
    small. On real chains 3 to 20 times the log-odds separate alike, and ten times better than the log-odds.

    Args:
        calls: of the states that choose a memory token.
        rest: of the states that choose none.
        unit: (d,) the row u that carries the bias.
        ridge: share of the mean variance that is added to the common covariance.
    """
    if not calls.count or not rest.count:
        return torch.zeros_like(unit)
    both = (calls.scatter + rest.scatter) / (calls.count + rest.count)
    away = discriminants(torch.stack([calls.mean, rest.mean]), shrunk(both, ridge), rest.mean)
    return _CONTRAST * away.fold(unit)[0]


def rows(means: Tensor, reference: Reference) -> Tensor:
    """(P, d) means -> (P, d) addresses beta (w + b u) + gamma u + c."""
    found = discriminants(means, reference.metric, reference.mean)
    own = reference.sharpness * found.fold(reference.unit)
    return own + reference.balance * reference.unit + reference.call


class Gate:
    """Says how well the best procedure fits a state.

    Args:
        means: (P, d) of the procedures' states.
        reference: what the bank's addresses have in common.
    """

    def __init__(self, means: Tensor, reference: Reference) -> None:
        self.mean, self.least_fit = reference.mean, float(reference.least_fit)
        self.metric, self.background = (
            inverse(matrix) for matrix in (reference.metric, reference.background)
        )
        self.scores = discriminants(means, reference.metric, reference.mean).scores

    def fits(self, states: Tensor) -> Tensor:
        """(N, d) states -> (N,) fits 1 - min_m d_m^2 / d_0^2; d_m^2 = d_mu^2 - 2 score_m."""
        states = states.detach().cpu().double()
        away = states - self.mean
        distance = ((away @ self.metric) * away).sum(-1) - 2 * self.scores(states).amax(-1)
        return fit(distance, ((away @ self.background) * away).sum(-1))


def fit(distance: Tensor, background: Tensor) -> Tensor:
    """1 - d_m^2 / d_0^2; a state at the common mean, which every procedure fits alike, has fit 0."""
    return 1 - distance / background.clamp_min(torch.finfo(background.dtype).tiny) * (background > 0)


def _solve(metric: Tensor, vectors: Tensor) -> Tensor:
    """(P, d) vectors -> metric^-1 of each, (P, d)."""
    return torch.cholesky_solve(vectors.T, _factor(metric)).T


def inverse(covariance: Tensor) -> Tensor:
    """The inverse of a covariance (d, d).

    Raises:
        BankError: it is not positive definite.
    """
    return torch.cholesky_inverse(_factor(covariance))


def _factor(covariance: Tensor) -> Tensor:
    """The Cholesky factor of a covariance (d, d)."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        raise BankError(
            "statistics whose covariance is not positive definite",
            "sums of finite states",
            "take the bank from a copy, or learn its procedures again",
        )
    return factor


def pack(symmetric: Tensor) -> Tensor:
    """(d, d) symmetric -> its d (d + 1) / 2 numbers on and below the diagonal, row after row."""
    places = torch.tril_indices(*symmetric.shape)
    return symmetric[places[0], places[1]]


def unpack(packed: Tensor, dim: int) -> Tensor:
    """The symmetric (d, d) matrix that `pack` packed."""
    places = torch.tril_indices(dim, dim)
    full = packed.new_zeros(dim, dim)
    full[places[0], places[1]] = packed
    full[places[1], places[0]] = packed
    return full
