"""The device of a backbone, and the type of its numbers there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from tokmem.model import hardware
from tokmem.model.hardware import least_seconds, pick_device, pick_dtype


@pytest.fixture(autouse=True)
def another_processor() -> Iterator[None]:
    """What one test found out about its processor holds for no other test."""
    hardware._cpu_prefers_bfloat16.cache_clear()
    yield
    hardware._cpu_prefers_bfloat16.cache_clear()


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("found", "seconds", "wanted"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, None, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, (1.0, 2.0), torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, (2.0, 1.0), torch.float32),
        ({"avx512_bf16": False, "avx2": True}, None, torch.float32),
        ({}, None, torch.float32),  # a processor of another architecture names neither
    ],
)
def test_fastest_is_half_precision_only_where_the_processor_gains_by_it(
    found: dict[str, bool],
    seconds: tuple[float, float] | None,
    wanted: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def timed(kinds: Sequence[torch.dtype]) -> list[float]:
        assert seconds, "this processor's flags say enough"
        assert [*kinds] == [torch.bfloat16, torch.float32]
        return [*seconds]

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr(hardware, "least_seconds", timed)
    assert pick_dtype("fastest", "cpu") is wanted
    assert pick_dtype("bfloat16", "cpu") is torch.bfloat16  # a name is taken at its word
    assert pick_dtype("auto", "cpu") is None


def test_a_larger_product_takes_longer() -> None:
    (small,), (large,) = (least_seconds([torch.float32], size=size) for size in (32, 512))
    assert 0 < small < large


def test_a_processor_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([[2.0, 1.0], [1.0, 2.0]])
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(hardware, "least_seconds", lambda kinds: next(times))
    assert {pick_dtype("fastest", "cpu") for _ in range(3)} == {torch.float32}
