from __future__ import annotations

import pytest
import torch

from tokmem.bank.init import start_rows, typical_norm, wide_rows
from tokmem.errors import BankError
from tokmem.seeds import generator


@pytest.fixture
def weight() -> torch.Tensor:
    """(40, 8) of which the last eight rows were never trained."""
    rows = torch.randn(40, 8, generator=generator(0, "weight"))
    rows[32:] *= 1e-4
    return rows


def rows(start: str, weight: torch.Tensor, count: int, **options: object) -> torch.Tensor:
    return start_rows(start, weight, count, generator=generator(0, "start"), **options)


@pytest.mark.parametrize("start", ["mean", "description", "sampled", "orthogonal"])
def test_every_start_has_the_norm_of_a_trained_row(start: str, weight: torch.Tensor) -> None:
    made = rows(start, weight.bfloat16(), 3, descriptions=[[1, 2], [3], []])
    assert (made.dtype, made.shape) == (torch.float32, (3, 8))
    norms = weight[:32].bfloat16().float().norm(dim=-1)
    torch.testing.assert_close(made.norm(dim=-1), norms.median().expand(3))


def test_typical_norm_leaves_untrained_rows_out(weight: torch.Tensor) -> None:
    assert typical_norm(weight) == float(weight[:32].norm(dim=-1).median())


def test_mean_and_description_are_means(weight: torch.Tensor) -> None:
    torch.testing.assert_close(rows("mean", weight, 2, norm_match=False), weight.mean(0).expand(2, -1))
    made = rows("description", weight, 2, descriptions=[[1, 4], []], norm_match=False)
    torch.testing.assert_close(made, torch.stack([(weight[1] + weight[4]) / 2, weight.mean(0)]))
    with pytest.raises(BankError, match="1 descriptions for 2 rows"):
        rows("description", weight, 2, descriptions=[[1]])


def test_no_procedures_have_no_rows(weight: torch.Tensor) -> None:
    assert rows("description", weight, 0, descriptions=[]).shape == (0, weight.shape[1])


def test_sampled_takes_trained_rows_by_seed(weight: torch.Tensor) -> None:
    made = rows("sampled", weight, 50, norm_match=False)
    places = [(weight == row).all(-1).nonzero().item() for row in made]
    assert max(places) < 32
    assert len(set(places)) > 10
    assert torch.equal(made, rows("sampled", weight, 50, norm_match=False))


@pytest.mark.parametrize("count", [1, 9, 11])
def test_orthogonal_rows_are_orthogonal_as_far_as_they_can_be(weight: torch.Tensor, count: int) -> None:
    made = rows("orthogonal", weight, count, norm_match=False)
    assert len(made) == count
    for block in (made[:8], made[8:]):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)), rtol=0, atol=1e-5)
    assert torch.equal(made, rows("orthogonal", weight, count, norm_match=False)), "the seed decides"


def test_an_unknown_start_is_refused(weight: torch.Tensor) -> None:
    with pytest.raises(BankError, match="one of mean, description, sampled, orthogonal"):
        rows("median", weight, 1)


def test_wide_procedures_share_their_description_out(weight: torch.Tensor) -> None:
    made = wide_rows("description", weight, [[1, 2, 3, 4], [5], []], 2, generator=generator(0, "start"))
    norm = typical_norm(weight)

    def scaled(row: torch.Tensor) -> torch.Tensor:
        return row * norm / row.norm()

    torch.testing.assert_close(made[0, 0], scaled((weight[1] + weight[2]) / 2))
    torch.testing.assert_close(made[0, 1], scaled((weight[3] + weight[4]) / 2))
    torch.testing.assert_close(made[1], scaled(weight[5]).expand(2, -1))
    torch.testing.assert_close(made[2], scaled(weight.mean(0)).expand(2, -1))
