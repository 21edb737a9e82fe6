"""Freed memory goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tokmem.train import heap

STATUS = Path("/proc/self/status")


def resident_mb() -> float:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if "VmRSS" in line) / 1024


@pytest.mark.skipif(heap._library() is None, reason="glibc alone keeps freed memory so")
def test_gaps_between_what_is_in_use_are_given_back() -> None:
    blocks = [bytearray(b"x" * 100_000) for _ in range(2_000)]  # below the size that glibc maps by itself
    full = resident_mb()
    del blocks[: len(blocks) - 1]  # the last block keeps the heap from shrinking
    heap.give_back()
    assert resident_mb() < full - 100


def test_other_systems_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    heap._library.cache_clear()
    heap.give_back()
    assert heap._library() is None
    heap._library.cache_clear()
