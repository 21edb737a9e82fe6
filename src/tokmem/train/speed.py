"""How fast a run trains and how much memory it takes: what hangs on the machine, and no result on it.

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
    """Counts from when a process takes up a run.

    Args:
        supervised: supervised tokens seen before that.
    """

    def __init__(self, supervised: int = 0) -> None:
        self._before, self._began = supervised, time.monotonic()

    def read(self, supervised: int, usage: Usage | None = None) -> dict[str, int]:
        """What a line of metrics holds under `speed`.

        Args:
            supervised: supervised tokens seen in the whole run, by all processes.
            usage: of this process's prefix cache; None where prompts are not read apart.

        Returns:
            `supervised_tokens_per_second` and `peak_memory_mb` (see `peak_bytes`). With a prefix cache also
            `unique_prompt_tokens_per_second`: those read, so that a shared one counts once and one from the
            cache not at all; `prefix_misses` and `prefix_hits`, windows read and found; `prefix_mb`, the most
            that it held.
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
    """The same under the names that a progress bar shows."""
    return {name.replace("_per_second", "/s").replace("_", " "): value for name, value in speed.items()}


def peak_bytes() -> int:
    """Most memory that this process has held so far: of the device on CUDA, else resident memory.

    0 where the system does not tell.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    if STATUS.exists():
        # Not getrusage: its peak survives exec, so a child would start from its parent's.
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # not a POSIX system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
