from __future__ import annotations

import random

import torch

from tokmem.seeds import generator, stream


def test_streams_depend_on_seed_and_every_name_apart() -> None:
    keys: list[tuple[int, tuple[str | int, ...]]] = [
        (0, ()), (1, ()), (0, ("a",)), (0, ("a", "b")), (0, ("ab",)), (0, ("a", 1)), (0, ("a", "1"))
    ]  # fmt: skip
    draws = [stream(seed, *names).random() for seed, names in keys]
    tensors = [torch.rand(1, generator=generator(seed, *names)).item() for seed, names in keys]
    assert len(set(draws)) == len(set(tensors)) == len(keys)
    assert draws == [stream(seed, *names).random() for seed, names in keys]
    assert tensors == [torch.rand(1, generator=generator(seed, *names)).item() for seed, names in keys]


def test_streams_are_the_same_on_every_machine() -> None:
    assert stream(7, "order", 2).getrandbits(32) == 4056621676


def test_global_state_is_left_alone() -> None:
    python, pytorch = random.getstate(), torch.get_rng_state()
    stream(0, "x").random()
    torch.rand(3, generator=generator(0, "x"))
    assert random.getstate() == python
    assert torch.equal(torch.get_rng_state(), pytorch)
