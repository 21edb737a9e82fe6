"""Computes what identifies a model's weights."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn

from tokmem.model.placed import values_of


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """Computes a hex digest of the configuration's shape and of every weight, as bfloat16.

    The same checkpoint loaded as float32 or bfloat16 has one fingerprint; one changed weight (beyond the
    resolution of bfloat16) gives another. Every element counts: a tensor enters as position-weighted sums of
    its bits.
    """
    digest = hashlib.sha256()
    config = getattr(model, "config", None)
    if config is not None:
        facts = {
            k: getattr(config, k, None)
            for k in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
    for name, parameter in sorted(model.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        values = values_of(model.get_submodule(owner), leaf)
        digest.update(f"{name}{tuple(parameter.shape)}{_checksum(values)}".encode())
    return digest.hexdigest()[:32]


def _checksum(tensor: Tensor) -> tuple[int, int]:
    flat = tensor.detach().reshape(-1)
    bits = flat.to(torch.bfloat16).view(torch.int16) if flat.is_floating_point() else flat
    total, weighted = 0, 0
    for start in range(0, len(bits), 1 << 24):
        part = bits[start : start + (1 << 24)].long()
        places = torch.arange(start, start + len(part), device=part.device) % 65521 + 1
        total += int(part.sum())
        weighted += int((part * places).sum())
    return total, weighted & ((1 << 64) - 1)
