"""Small blocks and quick options, which the tests of the fine-tuning methods share."""

from __future__ import annotations

from typing import Any

import torch

from tokmem.methods.adapted import Adapted
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train.settings import FitSettings

SETTINGS = FitSettings(lr=0.02, epochs=2, batch_size=4)
OPTIONS: dict[str, Any] = {
    "settings": SETTINGS,
    "recall": RecallSettings(max_new_tokens=6),
    "lora_r": 2,
    "lora_dropout": 0.2,
}


def procedures(*names: str) -> list[Procedure]:
    return [Procedure(name) for name in names]


def block(name: str, count: int = 8) -> list[Example]:
    return [
        Example(f"which city {i}", (Turn(name, f"{name} {i}"),), f"do {name}", id=f"{name}{i}")
        for i in range(count)
    ]


def weights(method: Adapted) -> list[torch.Tensor]:
    return [p.detach().clone() for p in method.adapter.parameters]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
