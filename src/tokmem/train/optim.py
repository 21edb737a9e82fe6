"""AdamW over what trains, and the schedule of its rate by optimizer steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Schedule = Literal["linear", "constant"]


def build_adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with the usual moments, over parameters that hold at least one number.

    Fused: one pass over the memory of a large bank instead of a dozen.
    """
    chosen = [p for p in parameters if p.numel()]
    return torch.optim.AdamW(chosen, lr=lr, weight_decay=weight_decay, fused=True)


def rate(step: int, steps: int, lr: float, warmup: float, schedule: Schedule) -> float:
    """Rate of optimizer step `step` (from 0) of `steps`.

    Linear warm-up over the first `warmup` share of the steps, then constant, or linear to zero. With the
    linear schedule the step after the last would have rate zero.
    """
    ramp = int(warmup * steps)
    if step < ramp:
        return lr * (step + 1) / ramp
    return lr if schedule == "constant" else lr * (steps - step) / (steps - ramp)
