"""Statistics: sums that commute, and files that hold them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.bank.gaussians import DIM, READ_WITH, clouds, statistics_of
from tokmem.bank.addresses import pack, rows, unpack
from tokmem.bank.calibration import fit_reference
from tokmem.bank.moments import Moments
from tokmem.bank.policy import MOMENTS, ClosedForm
from tokmem.bank.shapes import check_statistics
from tokmem.bank.statistics import Statistics
from tokmem.errors import BankError, ConfigError


def scatter_of(states: Mapping[str, Tensor]) -> Tensor:
    """Straight from the definition."""
    total = torch.zeros(DIM, DIM, dtype=torch.float64)
    for own in states.values():
        for state in own.double() - own.double().mean(0):
            total += torch.outer(state, state)
    return total


def same(left: Statistics, right: Statistics) -> bool:
    return (
        left.counts == right.counts
        and left.freedom == right.freedom
        and torch.allclose(left.means(), right.means(), atol=1e-10)
        and torch.allclose(left.scatter, right.scatter, atol=1e-9)
    )


def test_sums_are_those_of_the_states() -> None:
    states = clouds(3, 7)
    found = statistics_of(states)
    assert found.counts == {"p0": 7, "p1": 7, "p2": 7}
    assert found.freedom == 18
    assert found.levels == {"p0": 35.0, "p1": 35.0, "p2": 35.0}
    assert torch.allclose(found.mean("p1"), states["p1"].double().mean(0))
    assert torch.allclose(found.scatter, scatter_of(states), atol=1e-10)


def test_states_of_one_procedure_may_come_in_parts() -> None:
    states = clouds(2, 9)
    found = Statistics(DIM, ClosedForm(), READ_WITH)
    for name, start, stop in (("p0", 0, 1), ("p1", 0, 5), ("p0", 1, 9), ("p1", 5, 9)):
        found.add(name, states[name][start:stop], torch.full((stop - start,), 5.0))
    assert same(found, statistics_of(states))


def test_the_order_of_arrival_does_not_matter() -> None:
    """One by one, in blocks, all at once, merged from banks trained apart: the same addresses."""
    states = clouds(4, 6)
    whole = statistics_of(states)
    wanted = fit_reference(whole, states)
    for order in permutations(states):
        one_by_one = statistics_of({name: states[name] for name in order})
        merged = statistics_of({name: states[name] for name in order[:2]})
        merged.merge(statistics_of({name: states[name] for name in order[2:]}))
        for found in (one_by_one, merged):
            assert same(found, whole)
            got = fit_reference(found, states)
            for part, expected in wanted.tensors().items():
                torch.testing.assert_close(got.tensors()[part], expected, rtol=1e-9, atol=1e-9)


def test_covariances_are_those_of_the_states() -> None:
    states = clouds(3, 7)
    found, everything = statistics_of(states), torch.cat(list(states.values())).double()
    torch.testing.assert_close(found.common_mean(), everything.mean(0))
    torch.testing.assert_close(found.total_covariance(), everything.T.cov(correction=0))
    torch.testing.assert_close(found.covariance(), scatter_of(states) / 18)


def test_remove_forgets_the_mean_and_keeps_the_common_scatter() -> None:
    states = clouds(3, 5)
    found = statistics_of(states)
    before = found.scatter.clone()
    found.remove(["p1", "unknown"])
    assert found.names == ("p0", "p2")
    assert torch.equal(found.scatter, before)
    found.add("p1", states["p1"], torch.full((5,), 5.0))
    assert torch.allclose(found.means(), statistics_of(states).means())


def test_rename_and_slice_keep_the_numbers() -> None:
    found = statistics_of(clouds(3, 5))
    mean = found.mean("p1")
    found.rename("p1", "other")
    found.rename("unknown", "still unknown")
    assert found.names == ("other", "p0", "p2")
    part = found.slice(["other", "p2", "unknown"])
    assert part.names == ("other", "p2")
    assert torch.equal(part.mean("other"), mean)
    part.add("p9", torch.randn(3, DIM), torch.zeros(3))
    assert "p9" not in found.counts


def test_slices_of_one_bank_merge_to_its_covariance() -> None:
    found = statistics_of(clouds(4, 5))
    left, right = found.slice(["p0", "p1"]), found.slice(["p2", "p3"])
    left.merge(right)
    assert torch.allclose(left.scatter / left.freedom, found.scatter / found.freedom)


@pytest.mark.parametrize("what", ["backbone", "chat format", "prompt mode"])
def test_merge_refuses_states_read_with_something_else(what: str) -> None:
    other = Statistics(DIM, ClosedForm(), {**READ_WITH, what: "other"})
    with pytest.raises(BankError, match=f"{what} other"):
        statistics_of(clouds(1, 3)).merge(other)


def test_merge_refuses_another_policy() -> None:
    with pytest.raises(BankError, match=r"ridge 0\.5; wanted: ridge 0\.1"):
        statistics_of(clouds(1, 3)).merge(statistics_of(clouds(2, 3), ridge=0.5))


@pytest.mark.parametrize(
    "wrong", [{"shared": "never"}, {"ridge": 0.0}, {"false_accept": 1.5}, {"stand_ins": 17}]
)
def test_a_policy_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        ClosedForm(**wrong)


def test_merge_refuses_another_fixed_reference() -> None:
    left, right = statistics_of(clouds(3, 6)), statistics_of(clouds(3, 6, seed=1))
    left.reference = fit_reference(left, clouds(3, 6))
    right.reference = fit_reference(right, clouds(3, 6, seed=1))
    right.rename("p0", "q0")
    with pytest.raises(BankError, match="first stage"):
        left.merge(right)


@pytest.mark.parametrize("shape", [(0, DIM), (3, DIM + 1), (DIM,)])
def test_states_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BankError, match="states"):
        Statistics(DIM, ClosedForm(), READ_WITH).add("p", torch.zeros(shape), torch.zeros(shape[0]))


def test_states_without_a_call_go_with_every_copy() -> None:
    rest, states = clouds(1, 9, seed=5)["p0"], clouds(3, 6)
    found, other = statistics_of(states), statistics_of({"q": states["p0"]})
    found.add_rest(rest[:4])
    other.add_rest(rest[4:])
    part = found.slice(["p1"])
    assert torch.equal(part.rest.scatter, found.rest.scatter)
    found.merge(other)
    torch.testing.assert_close(found.rest.scatter, Moments.of(rest).scatter)
    back = Statistics.restore(found.facts, found.tensors())
    assert back.rest.count == 9
    assert torch.equal(back.rest.total, found.rest.total)
    assert torch.equal(fit_reference(back, states).call, fit_reference(found, states).call)
    assert found.calls().count == sum(found.counts.values())


@pytest.mark.parametrize("part", MOMENTS)
def test_a_file_with_states_without_a_call_has_their_sums(part: str) -> None:
    found, states = statistics_of(clouds(3, 6)), clouds(1, 9, seed=5)["p0"]
    if part == "rest":
        found.add_rest(states)
    else:
        found.add_inside(Moments.of(states))
    facts, sums = {"dim": DIM, "closed_form": found.facts}, found.tensors()
    check_statistics(sums, facts, Path("statistics"))
    assert found.facts[part] == getattr(Statistics.restore(found.facts, sums), part).count == 9
    for name in (part, f"{part}.scatter"):
        for wrong in ({}, {name: torch.zeros(DIM + 1)}):
            with pytest.raises(BankError, match=name):
                check_statistics(
                    {k: v for k, v in sums.items() if k != name} | wrong, facts, Path("statistics")
                )


@pytest.mark.parametrize("fixed", [False, True])
def test_a_file_gives_every_number_back(fixed: bool) -> None:
    states = clouds(3, 6)
    found = statistics_of(states)
    found.levels["p0"] += 1 / 3  # no float32 number
    if fixed:
        found.reference = fit_reference(found, states)
    back = Statistics.restore(found.facts, found.tensors())
    assert back.counts == found.counts
    assert (back.levels, back.freedom) == (found.levels, found.freedom)
    assert (back.read_with, back.policy) == (found.read_with, found.policy)
    assert torch.equal(back.scatter, found.scatter)
    assert torch.equal(back.means(), found.means())
    assert (back.reference is not None) == fixed
    if back.reference and found.reference:
        assert back.reference.same(found.reference)


def test_packing_halves_a_symmetric_matrix() -> None:
    draws = torch.randn(5, 5, dtype=torch.float64)
    matrix = draws @ draws.T
    assert pack(matrix).shape == (15,)
    assert torch.equal(unpack(pack(matrix), 5), torch.tril(matrix) + torch.tril(matrix, -1).T)


def test_many_random_orders_give_the_same_float32_rows() -> None:
    states = clouds(12, 5)

    def addresses(order: list[str]) -> Tensor:
        found = statistics_of({name: states[name] for name in order})
        return rows(found.means(), fit_reference(found, states)).float()

    wanted = addresses(sorted(states))
    for seed in range(5):
        order = list(states)
        Random(seed).shuffle(order)
        torch.testing.assert_close(addresses(order), wanted, rtol=1e-6, atol=1e-6)
