"""AdamW, and the schedule of its rate by optimizer steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from tokmem.errors import ConfigError

Schedule = Literal["linear", "constant"]


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate and a decay.

    Attributes:
        parameters: the parameters that the optimizer moves.
        rate: multiple of the run's rate.
        weight_decay: decay of the group; None takes the run's.
    """

    parameters: Sequence[nn.Parameter]
    rate: float = 1.0
    weight_decay: float | None = None


def build_adamw(groups: Sequence[Group], lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Builds AdamW with its default moments, over parameters that are not empty.

    `set_rate` gives each group its multiple of the rate. The optimizer is fused, which passes over the memory
    of a large bank once instead of a dozen times.
    """
    chosen = [
        {
            "params": [p for p in group.parameters if p.numel()],
            "factor": group.rate,
            "weight_decay": weight_decay if group.weight_decay is None else group.weight_decay,
        }
        for group in groups
    ]
    return torch.optim.AdamW(chosen, lr=lr, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the rate of the next step; each group takes its own multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def check_schedule(warmup: float, schedule: str) -> None:
    """Checks the arguments of `rate`.

    Raises:
        ConfigError: `warmup` is not in [0, 1], or `schedule` is unknown.
    """
    if not 0 <= warmup <= 1:
        raise ConfigError(f"warmup {warmup}", "a share of the steps, 0 to 1")
    if schedule not in get_args(Schedule):
        raise ConfigError(f"schedule {schedule!r}", f"one of {', '.join(get_args(Schedule))}")


def rate(step: int, steps: int, lr: float, warmup: float, schedule: Schedule) -> float:
    """The rate of optimizer step `step` (from 0) of `steps`.

    The rate rises linearly over the first `warmup` share of the steps. Then it stays constant or falls
    linearly; with the linear schedule the step after the last would have rate zero.
    """
    ramp = int(warmup * steps)
    if step < ramp:
        return lr * (step + 1) / ramp
    return lr if schedule == "constant" else lr * (steps - step) / (steps - ramp)
