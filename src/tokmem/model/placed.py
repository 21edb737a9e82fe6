"""Backbones over several devices: what accelerate's hooks change, and how to read such a model.

`device_map` divides a model's modules among devices. accelerate then replaces the `forward` of each module:
the new one moves the inputs to the module's device. Weights that fit on no device stay in memory or on disk;
a hook brings them for each call, and between calls the module has empty weights.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from tokmem.errors import BackboneError

Module = TypeVar("Module", bound=nn.Module)


def is_divided(model: nn.Module) -> bool:
    """Whether the modules of a model stand on several devices, or its weights are brought for each call."""
    return len({str(place) for place in getattr(model, "hf_device_map", {}).values()}) > 1


def check_undivided(model: nn.Module, what: str) -> None:
    """Refuses a model that is divided among devices.

    Args:
        model: the model.
        what: needs it in one place.

    Raises:
        BackboneError: it is divided.
    """
    if is_divided(model):
        got = f"{what} of a backbone that is divided among devices"
        raise BackboneError(got, "a backbone on one device", "load it without device_map")


def device_of(module: nn.Module) -> torch.device:
    """The device that a module with a weight computes on."""
    place = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight.device if place is None else torch.device(place)


def values_of(module: nn.Module, name: str = "weight") -> Tensor:
    """A parameter of a module, detached and with its values, also if they are brought for each call."""
    if getattr(module, name).device.type != "meta":
        held: Tensor = getattr(module, name).detach()
        return held
    from accelerate.utils import align_module_device

    with align_module_device(module):
        brought: Tensor = getattr(module, name).detach()
    return brought


def bare_copy(module: Module) -> Module:
    """A shallow copy that shares all parts and has the `forward` of its class, not that of a hook.

    The `forward` of a hook belongs to the original: called on a copy, it would run the original's parts.
    """
    made = copy.copy(module)
    if "_hf_hook" in vars(made):
        for name in ("_hf_hook", "_old_forward", "forward"):
            vars(made).pop(name)
    return made
