"""Named random streams: each use of chance has its own, so an extra draw changes no other stream."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(seed: int, *names: str | int) -> random.Random:
    """A Python random stream that depends only on seed and names, such as `stream(0, "order", epoch)`."""
    return random.Random(_derive(seed, names))


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch generator that depends only on seed and names; on the CPU, so all devices get its numbers."""
    import torch  # not above: commands that draw nothing start faster without it

    return torch.Generator().manual_seed(_derive(seed, names) >> 1)


def _derive(seed: int, names: tuple[str | int, ...]) -> int:
    """64 bits of a sha256 over JSON, so that ("ab",), ("a", "b"), (1,) and ("1",) all differ."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big")
