"""Compares one gradient with a finite difference, so that a backbone with wrong gradients is refused.

A memory token learns through the backbone. Kernels of quantised weights can be right forwards and wrong
backwards, and training then fails without an error.

    (L(r + u) - L(r - u)) / 2  =  grad L(r) . u        r: one row of the input, u: a step along grad L(r)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from tokmem.errors import BackboneError
from tokmem.files import atomic_write_json, cache_folder
from tokmem.log import logger
from tokmem.model.placed import device_of

FOLDER = "checks"
OFF = "TOKMEM_NO_CHECK"
"""If this environment variable is set, no check runs."""
_TOKENS, _PLACE = 12, 4  # length of the sequence, and the row that moves
# How many nats a step changes the loss, and how far the two sides may differ: as a share, and in nats.
_EXACT, _COARSE = (0.005, 0.05, 0.0003), (0.05, 0.5, 0.03)
# Kernels of bitsandbytes on a CPU move the loss by up to 0.05 nats from one call to the next.
_QUANTISED = (0.3, 0.5, 0.1)


def check_once(model: PreTrainedModel, fingerprint: str, name: str) -> None:
    """Checks the gradient of a backbone, unless these weights passed before in the same form.

    Args:
        model: the frozen model.
        fingerprint: of its weights.
        name: the backbone's name, for messages.

    Raises:
        BackboneError: its gradient is not that of its loss.
    """
    passed = _record(model, fingerprint)
    if os.environ.get(OFF) or passed.is_file():
        return
    found, wanted = gradient_pair(model)
    _, share, least = _tolerance(model)
    if not abs(found - wanted) <= share * max(abs(found), abs(wanted)) + least:  # also if one is NaN
        raise BackboneError(
            f"the gradient of {name} as {model.dtype} says that a step changes the loss by {found:.4f}; "
            f"it changes by {wanted:.4f}",
            "equal changes: memory tokens learn by this gradient",
            "load it with another dtype or quantization; tokmem --no-check COMMAND, or "
            "load_backbone(..., check=False), loads it all the same",
        )
    logger.info("the gradient of %s is right: %.4f, by differences %.4f", name, found, wanted)
    with suppress(OSError):  # a cache that cannot be written costs a check each time
        atomic_write_json(passed, {"backbone": name, "gradient": found, "difference": wanted})


def gradient_pair(model: PreTrainedModel) -> tuple[float, float]:
    """How far a step along the gradient of one input row changes the loss: by the gradient, by differences.

    Args:
        model: the model; its parameters are not touched.
    """
    loss, row = _loss_of_row(model)
    with torch.enable_grad():
        leaf = row.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    norm = float(gradient.norm())
    if not norm > 0:  # nothing comes back, or NaN does
        return norm, float("nan")
    step = gradient / norm**2 * _tolerance(model)[0]
    with torch.no_grad():
        ends = [(row + sign * step).to(model.dtype).float() for sign in (1, -1)]  # what the model reads
        high, low = (float(loss(end)) for end in ends)
    return float(gradient @ (ends[0] - ends[1])) / 2, (high - low) / 2


def _loss_of_row(model: PreTrainedModel) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The mean loss of a fixed sequence as a function of one of its input rows (d,), and that row."""
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding), "checked when the backbone is wrapped"
    rows, device = embedding.num_embeddings, device_of(embedding)
    ids = torch.linspace(rows * 0.1, rows * 0.9, _TOKENS).long().to(device)[None]
    with torch.no_grad():
        inputs = embedding(ids)

    def loss(row: Tensor) -> Tensor:
        moved = torch.cat(
            [inputs[:, :_PLACE], row.to(inputs.dtype)[None, None], inputs[:, _PLACE + 1 :]], dim=1
        )
        logits = model(inputs_embeds=moved, use_cache=False).logits.float()
        return cross_entropy(logits[0, _PLACE:-1], ids[0, _PLACE + 1 :].to(logits.device))

    return loss, inputs[0, _PLACE].float()


def _tolerance(model: PreTrainedModel) -> tuple[float, float, float]:
    if getattr(model, "is_quantized", False):
        return _QUANTISED
    return _EXACT if model.dtype == torch.float32 else _COARSE


def _record(model: PreTrainedModel, fingerprint: str) -> Path:
    """The file that says that the check passed."""
    parameter = next(model.parameters())
    kinds = sorted({f"{type(p).__name__} {p.dtype}" for p in model.parameters()})
    versions = (torch.__version__, transformers.__version__)
    attention = str(model.config._attn_implementation)
    facts = json.dumps([fingerprint, str(model.dtype), kinds, parameter.device.type, attention, *versions])
    return cache_folder(FOLDER) / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"
