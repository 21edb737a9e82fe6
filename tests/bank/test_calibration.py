"""Compares left-out scores with statistics that never saw the state, and tests the fits to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.bank.gaussians import DIM, clouds, statistics_of
from tokmem.bank.addresses import Gate, discriminants, rows
from tokmem.bank.calibration import (
    LeftOut,
    ambiguities,
    fit_reference,
    fit_sharpness,
    least_fit,
    left_out,
)
from tokmem.errors import BankError


def test_a_scatter_that_is_none_is_refused() -> None:
    """The spread between procedures hides the damage from all sums but those within them."""
    made = clouds(4, 8)
    found = statistics_of(made)
    away = found.means()[0] - found.common_mean()
    found.scatter -= 4 * torch.outer(away, away)
    with pytest.raises(BankError, match="not positive definite"):
        fit_reference(found, made)


def test_left_out_scores_are_those_of_statistics_without_the_state() -> None:
    lengths = (6, 2, 1, 4)
    states = {n: own[:count] for (n, own), count in zip(clouds(4, 6).items(), lengths, strict=True)}
    found = statistics_of(states, ridge=0.2)
    reference = fit_reference(found, states)
    got = left_out(found, states, reference)
    assert got.labels.tolist() == [0] * 6 + [1] * 2 + [3] * 4
    row = 0
    for index, name in enumerate(found.names):
        for state in states[name].double() if len(states[name]) > 1 else ():
            count, away, means = len(states[name]), state - found.mean(name), found.means()
            means[index] = (count * means[index] - state) / (count - 1)
            own = reference.metric - count / ((count - 1) * found.freedom) * torch.outer(away, away)
            wanted = discriminants(means, own, reference.mean).scores(state[None])[0]
            torch.testing.assert_close(got.scores[row], wanted)
            from_mean = state - reference.mean
            torch.testing.assert_close(got.distance[row], from_mean @ torch.linalg.inv(own) @ from_mean)
            strangers = torch.cat([own for n, own in states.items() if n != name]).double()
            gone, ratio = found.mean(name) - reference.mean, count / len(strangers)
            lost = reference.background - ratio * torch.outer(gone, gone)
            from_rest = state - strangers.mean(0)
            torch.testing.assert_close(got.apart[row], from_rest @ torch.linalg.inv(lost) @ from_rest)
            row += 1
    assert row == len(got.scores)


def test_left_out_scores_foretell_fresh_states() -> None:
    """Few states in many dimensions: seen states look perfect, left-out ones as good as fresh ones are."""
    everything = clouds(10, 104, dim=40, spread=0.5)
    states, fresh = ({n: own[part] for n, own in everything.items()} for part in (slice(4), slice(4, None)))
    found = statistics_of(states)
    reference = fit_reference(found, states)
    score = discriminants(found.means(), reference.metric, reference.mean).scores

    def right(of: dict[str, Tensor]) -> float:
        hits = [score(of[n].double()).argmax(-1) == i for i, n in enumerate(found.names)]
        return float(torch.cat(hits).double().mean())

    left = left_out(found, states, reference)
    foretold = float((left.own > left.others).double().mean())
    assert right(states) == 1.0
    assert right(fresh) < 0.9
    assert abs(foretold - right(fresh)) < 0.15


def test_sharpness_makes_probabilities_honest() -> None:
    draws = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 5, generator=draws, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=draws)[:, 0]
    assert abs(fit_sharpness(logits / 20, labels) / 20 - 1) < 0.1


def test_sharpness_is_finite_without_a_mistake_and_scales_with_the_scores() -> None:
    scores, labels = 10 * torch.eye(5).double(), torch.arange(5)
    found = fit_sharpness(scores, labels)
    assert 0 < found < 10
    assert fit_sharpness(100 * scores, labels) == pytest.approx(found / 100)


@pytest.mark.parametrize("mistakes", [0.2, 0.5, 0.7])
def test_sharpness_is_that_of_the_best_likelihood(mistakes: float) -> None:
    """Also where many mistakes make it far flatter than the margins."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (600,), generator=draws)
    wrong = torch.rand(600, generator=draws) < mistakes
    scores = 4.0 * torch.nn.functional.one_hot(torch.where(wrong, (labels + 1) % 5, labels), 5).double()
    betas = torch.linspace(0.01, 2, 2000, dtype=torch.float64)
    likelihood = torch.stack(
        [(beta * scores).log_softmax(-1).gather(1, labels[:, None]).sum() for beta in betas]
    )
    assert fit_sharpness(scores, labels) == pytest.approx(float(betas[likelihood.argmax()]), abs=0.02)


def test_one_mistake_by_the_median_margin_counts_beside_the_states() -> None:
    scores, labels = 10 * torch.eye(5).double(), torch.arange(5)
    betas = torch.linspace(0.01, 2, 4000, dtype=torch.float64)
    likelihood = torch.stack(
        [
            (beta * scores).log_softmax(-1).diagonal().sum() - torch.nn.functional.softplus(10 * beta)
            for beta in betas
        ]
    )
    assert fit_sharpness(scores, labels) == pytest.approx(float(betas[likelihood.argmax()]), abs=1e-3)


def test_sharpness_of_hopeless_scores_stays_above_zero() -> None:
    assert fit_sharpness(-torch.eye(5).double(), torch.arange(5)) > 0


def test_sharpness_without_margins_is_one() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0]] * 4 + [[0.0, 0.5, 2.0]], dtype=torch.float64)
    assert fit_sharpness(scores, torch.tensor([0, 1, 0, 1, 2])) == 1.0


def test_the_least_fit_lets_through_the_stated_share_of_strangers() -> None:
    draws = torch.Generator().manual_seed(0)
    scores = torch.randn(1000, 8, generator=draws, dtype=torch.float64)
    labels = torch.randint(8, (1000,), generator=draws)
    number = torch.ones(1000).double()
    found = LeftOut(scores, scores, labels, 20 * number, 40 * number)
    for share in (0.01, 0.2):
        accepted = found.stranger_fits > least_fit(found, share)
        assert float(accepted.double().mean()) == pytest.approx(share, abs=2e-3)


def test_strangers_are_rejected_at_about_the_stated_rate() -> None:
    """Half of twenty procedures are in the bank; states of the others are strangers."""
    everything = clouds(20, 60, dim=24, spread=2.0)
    known = {name: own for name, own in everything.items() if int(name[1:]) % 2}
    found = statistics_of({name: own[:30] for name, own in known.items()}, false_accept=0.1)
    reference = fit_reference(found, {n: own[:10] for n, own in known.items()})
    gate = Gate(found.means(), reference)
    accepted = {
        n: float((gate.fits(own[30:]) >= gate.least_fit).double().mean()) for n, own in everything.items()
    }
    assert sum(accepted[n] for n in known) / 10 > 0.9
    assert sum(accepted[n] for n in everything if n not in known) / 10 < 0.2


def test_memory_tokens_of_known_procedures_beat_the_best_ordinary_logit() -> None:
    everything = clouds(8, 60, spread=4.0)
    found = statistics_of({name: own[:30] for name, own in everything.items()}, level=9.0)
    reference = fit_reference(found, {n: own[:10] for n, own in everything.items()})
    states = torch.cat([own[30:] for own in everything.values()]).double()
    chosen = ((states @ rows(found.means(), reference).T).amax(-1) > 9.0).double().mean()
    assert 0.85 < float(chosen) <= 1.0


def test_one_procedure_and_one_state_are_enough() -> None:
    for states in (clouds(1, 1), clouds(1, 4)):
        found = statistics_of(states)
        reference = fit_reference(found, states)
        assert torch.isfinite(rows(found.means(), reference)).all()
        gate = Gate(found.means(), reference)
        assert float(gate.fits(found.means())) >= gate.least_fit


def test_a_bank_without_statistics_has_no_reference() -> None:
    found = statistics_of(clouds(1, 3))
    found.remove(found.names)
    with pytest.raises(BankError, match="no procedures"):
        fit_reference(found, {})


def test_pairs_that_take_each_others_states_are_named() -> None:
    states = clouds(4, 40)
    draws = torch.Generator().manual_seed(1)
    twin = states["p2"][torch.randperm(40, generator=draws)] + torch.randn(40, DIM, generator=draws)
    states["twin"] = twin
    found = statistics_of(states)
    reference = fit_reference(found, states)
    (pair,) = ambiguities(found, states, reference)
    assert (pair.first, pair.second) == ("p2", "twin")
    assert 0.3 < pair.error < 0.8
    assert ambiguities(found, states, reference, least=0.9) == []
    everything = ambiguities(found, states, reference, least=0.0)
    assert len(everything) == 10
    out, names = left_out(found, states, reference), found.names
    for one in everything:
        i, j = names.index(one.first), names.index(one.second)
        own = (out.labels == i) | (out.labels == j)
        wrong = (out.scores[own, j] > out.scores[own, i]) != (out.labels[own] == j)
        assert one.error == pytest.approx(float(wrong.double().mean()))


def test_a_part_of_a_bank_rejects_as_the_whole_does() -> None:
    """The background is of the procedures that are there, whatever states the scatter has seen."""
    states = clouds(8, 12)
    whole = statistics_of(states)
    part = whole.slice([f"p{i}" for i in range(3)])
    few = {name: states[name] for name in part.names}
    background = fit_reference(part, few).background
    alone = fit_reference(statistics_of(few), few).background
    assert float((background - alone).norm() / alone.norm()) < 0.2
    halves = whole.slice([f"p{i}" for i in range(4)])
    halves.merge(whole.slice([f"p{i}" for i in range(4, 8)]))
    torch.testing.assert_close(halves.total_covariance(), whole.total_covariance())


def test_a_fixed_metric_loses_no_state_that_it_never_had() -> None:
    states = clouds(3, 8)
    first = statistics_of({"p0": states["p0"]})
    first.reference = fit_reference(first, {"p0": states["p0"]})
    fixed = first.reference
    for name in ("p1", "p2"):
        first.add(name, states[name], torch.full((8,), 5.0))
    got = left_out(first, states, fixed).distance
    away = torch.cat(list(states.values())).double() - fixed.mean
    torch.testing.assert_close(got, ((away @ torch.linalg.inv(fixed.metric)) * away).sum(-1))
