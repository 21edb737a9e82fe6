from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tokmem.recall.answer import stop_ids


@pytest.mark.parametrize(("eos", "wanted"), [(None, {7}), (2, {2, 7}), ([2, 3, 7], {2, 3, 7})])
def test_a_response_ends_at_the_stop_token_and_at_every_end_of_text(eos: Any, wanted: set[int]) -> None:
    model: Any = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=eos))
    found = stop_ids(model, SimpleNamespace(stop=7))  # type: ignore[arg-type]
    assert len(found) == len(wanted)
    assert set(found) == wanted
