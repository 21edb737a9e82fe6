from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.tiny import STOP, tiny_examples, tiny_lm
from tokmem.recall.generate import Generation, Recaller
from tokmem.recall.settings import RecallSettings


def ids_so_far(generation: Generation) -> list[int]:
    return [*generation.text, *(i for _, ids in generation.turns for i in ids)]


@pytest.mark.parametrize("options", [{}, {"continuous": False}, {"mode": "chain"}, {"temperature": 1.0}])
@pytest.mark.parametrize("forced", [None, ["old0"]])
def test_a_stream_grows_to_the_whole_answer(options: dict[str, Any], forced: list[str] | None) -> None:
    lm = tiny_lm("llama", False)
    prompt = tiny_examples(lm.bank, 1)[0]
    ids = prompt.ids[: prompt.prefix]
    recaller = Recaller(lm, [STOP], RecallSettings(max_new_tokens=9, batch_size=4, **options))
    whole = recaller([ids], forced and [forced])[0]
    parts = list(recaller.stream(ids, forced))
    assert replace(parts[-1], route=None, routes=[]) == replace(whole, route=None, routes=[])
    for part, longer in pairwise(parts):
        assert ids_so_far(longer)[: len(ids_so_far(part))] == ids_so_far(part)
    assert len(parts) > 1


def test_the_caller_of_a_stream_keeps_its_gradients() -> None:
    lm = tiny_lm("llama", False)
    prompt = tiny_examples(lm.bank, 1)[0]
    pieces = Recaller(lm, [STOP], RecallSettings(max_new_tokens=4)).stream(prompt.ids[: prompt.prefix])
    next(pieces)
    assert not torch.is_inference_mode_enabled()
    assert (torch.ones(1, requires_grad=True) * 2).requires_grad
