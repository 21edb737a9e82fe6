"""The device of a backbone, and the type of its numbers there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from time import perf_counter

import torch

from tokmem.errors import BackboneError


def pick_device(device: str) -> str:
    """Finds the torch device of a name; `auto` is an accelerator if there is one, else the CPU.

    Raises:
        BackboneError: torch does not see such a device here.
    """
    device = str(device)  # also of a torch.device
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator.type if accelerator else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackboneError(f"device {device!r}", "auto, cpu, or a device that torch sees here") from error
    return device


def pick_dtype(dtype: str, device: str) -> torch.dtype | None:
    """Finds the torch type of a name on a device; None for `auto`.

    `fastest` is bfloat16 on a device that multiplies it faster than float32: a GPU, or a CPU with AMX. A CPU
    with AVX512-BF16 alone is measured, for some multiply bfloat16 at half the speed of float32 and some at
    twice. It is float32 on any other device, where bfloat16 is several times slower.
    """
    if dtype == "auto":
        return None
    if dtype != "fastest":
        kind: torch.dtype = getattr(torch, dtype)
        return kind
    if torch.device(device).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.device(device).type == "cpu" and _cpu_prefers_bfloat16()
    return torch.bfloat16 if fast else torch.float32


@cache
def _cpu_prefers_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    found = torch.cpu.get_capabilities()
    if found.get("amx_bf16") or not found.get("avx512_bf16"):
        return bool(found.get("amx_bf16"))
    half, whole = least_seconds((torch.bfloat16, torch.float32))
    return half < whole


def least_seconds(kinds: Sequence[torch.dtype], size: int = 512, rounds: int = 9) -> list[float]:
    """The least seconds of a product of two `size` x `size` matrices on the CPU, of each type of numbers.

    The types take turns, so that a short load beside them slows all alike.
    """
    matrices = [torch.ones(size, size, dtype=kind) for kind in kinds]
    seconds = [[_seconds(one) for one in matrices] for _ in range(rounds)]
    return [min(own) for own in zip(*seconds, strict=True)]


def _seconds(matrix: torch.Tensor) -> float:
    started = perf_counter()
    torch.mm(matrix, matrix)
    return perf_counter() - started
