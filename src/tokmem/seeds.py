"""Named random streams: each use of chance has its own, so that one more draw here moves nothing there."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(seed: int, *names: str | int) -> random.Random:
    """A Python random stream that depends on seed and names alone, such as `stream(0, "order", epoch)`."""
    return random.Random(_derive(seed, names))


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch generator likewise; on the CPU, so that every device sees the same numbers."""
    import torch  # here, so that commands which draw nothing start without it

    return torch.Generator().manual_seed(_derive(seed, names) >> 1)


def _derive(seed: int, names: tuple[str | int, ...]) -> int:
    """64 bits from sha256; as JSON, so that ("ab",), ("a", "b") and (1,), ("1",) all differ."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big")
