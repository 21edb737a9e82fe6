from __future__ import annotations

import torch

from tokmem.model.prefix import Prefix, stack_prefixes

LAYERS, GROUPS, DIM = 2, 3, 4


def prefix(length: int, stem: Prefix | None = None) -> Prefix:
    states = [(torch.randn(GROUPS, length, DIM), torch.randn(GROUPS, length, DIM)) for _ in range(LAYERS)]
    return Prefix(states, torch.randn(8), stem)


def test_a_prefix_with_stems_is_as_long_as_all_of_them() -> None:
    first = prefix(5)
    second = prefix(2, first)
    third = prefix(3, second)
    assert third.length == 10
    for layer, states in enumerate(third.joined()):
        for part, found in enumerate(states):
            wanted = torch.cat([own.layers[layer][part] for own in (first, second, third)], 1)
            assert torch.equal(found, wanted)


def test_prefixes_are_stacked_behind_padding() -> None:
    short, long = prefix(2), prefix(1, prefix(4))
    cache, mask, hidden = stack_prefixes([short, long])
    assert mask.tolist() == [[0, 0, 0, 1, 1], [1] * 5]
    assert torch.equal(hidden, torch.stack([short.hidden, long.hidden]))
    for layer in range(LAYERS):
        keys = cache.layers[layer].keys
        assert keys.shape == (2, GROUPS, 5, DIM)
        assert torch.equal(keys[0, :, 3:], short.layers[layer][0])
        assert torch.equal(keys[1], long.joined()[layer][0])
