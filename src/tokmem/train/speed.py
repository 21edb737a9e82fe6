"""Measures the speed and the memory of a training run. They depend on the machine; no result does.

Nothing here waits for the device.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from tokmem.train.prefix_cache import Usage

STATUS = Path("/proc/self/status")


class SpeedMeter:
    """Measures a run from the moment at which this process starts or resumes it.

    Args:
        supervised: supervised tokens that the run had seen before.
    """

    def __init__(self, supervised: int = 0) -> None:
        self._before, self._began = supervised, time.monotonic()

    def read(self, supervised: int, usage: Usage | None = None) -> dict[str, int]:
        """The entry `speed` of a line of metrics.

        Args:
            supervised: supervised tokens that all processes have seen in the whole run.
            usage: use of this process's prefix cache; None if prompts are not read separately.

        Returns:
            `supervised_tokens_per_second` and `peak_memory_mb` (see `peak_bytes`). With a prefix cache also
            `unique_prompt_tokens_per_second`, which counts shared tokens once and cached tokens not at all;
            `prefix_misses` and `prefix_hits`, the windows that were read and found; and `prefix_mb`, the
            largest size of the cache.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        speed = {"supervised_tokens_per_second": round((supervised - self._before) / seconds)}
        if usage is not None:
            speed |= {
                "unique_prompt_tokens_per_second": round(usage.read_tokens / seconds),
                "prefix_misses": usage.misses,
                "prefix_hits": usage.hits,
                "prefix_mb": usage.peak_bytes >> 20,
            }
        return speed | {"peak_memory_mb": peak_bytes() >> 20}


def shown(speed: Mapping[str, int]) -> dict[str, int]:
    """Renames the entries of `speed` for a progress bar."""
    return {name.replace("_per_second", "/s").replace("_", " "): value for name, value in speed.items()}


def peak_bytes() -> int:
    """The peak memory of this process: device memory on CUDA, else resident memory.

    0 if the system does not report it.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    # getrusage comes second: its peak survives exec, so a child starts from its parent's peak.
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    if peaks := [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]:
        return peaks[0] * 1024
    try:
        import resource
    except ModuleNotFoundError:  # not a POSIX system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
