from __future__ import annotations

import math

import pytest

from tokmem.errors import DataError
from tokmem.eval.perplexity import TokenTally


def test_tallies_add_up_to_a_mean_over_tokens_not_batches() -> None:
    total = TokenTally(math.log(2), 1, 1) + TokenTally(3 * math.log(8), 0, 3)
    assert total.perplexity == pytest.approx(2**2.5)
    assert total.mean_nll == pytest.approx(2.5 * math.log(2))
    assert total.accuracy == 25.0


def test_hopeless_models_have_infinite_perplexity() -> None:
    assert TokenTally(1e6, 0, 1).perplexity == math.inf
    assert TokenTally(math.inf, 0, 1).perplexity == math.inf


@pytest.mark.parametrize("tally", [TokenTally(), TokenTally(1.0, 2, 1), TokenTally(math.nan, 0, 1)])
def test_meaningless_tallies_are_refused(tally: TokenTally) -> None:
    with pytest.raises(DataError, match="TokenTally"):
        _ = tally.accuracy
    with pytest.raises(DataError):
        _ = tally.perplexity
