"""Packs sequences into one row, so that matrix products run over all their tokens and over no padding.

Attention stays within each sequence: causal and dense, over the sequence's own tokens and over given keys and
values from before it. It replaces the model's attention through the attention interface of `transformers`;
`longest_packed` computes for which models and lengths this is exact.

On a GPU one kernel attends within all sequences of the row (FlashAttention, of variable length); elsewhere,
and in float32, each sequence has a call of its own.

Letters: N tokens in the row, S sequences, H heads, G key-value heads, D head size, L given positions, K keys
of all sequences: N and the given positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from itertools import accumulate
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, DynamicCache, PreTrainedConfig, PreTrainedModel

from tokmem.data.collate import on_device
from tokmem.model.backbone import input_embedding, is_recurrent
from tokmem.model.placed import device_of

NAME = "tokmem_packed"
Past = Sequence[tuple[Tensor, Tensor]]
# Arguments of attention that do not change the result here. Any other argument may change it.
_HARMLESS = frozenset(
    ("position_ids", "position_embeddings", "cache_position", "use_cache", "is_causal", "sliding_window")
)
# Lengths of the trial's sequences. Short ones cost little and fit into any window.
_TRIAL = (2, 3)
_CLOSE = {torch.float32: 1e-3, torch.float64: 1e-3}  # else 0.05: half precision
# What FlashAttention takes: compute capability, dtypes, and head sizes that are multiples of 8.
_FLASH = (8, 0), (torch.float16, torch.bfloat16), 256
# Later than torch 2.11, several query heads may share a key-value head.
_GROUPED: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}


class _Unpackable(Exception):
    """The attention of a layer differs from that of `PackedRow`."""


@dataclass
class PackedRow:
    """The division of a row into sequences; the attention of every layer receives it.

    Attributes:
        lengths: (S,) number of tokens of each sequence in the row.
        past: for each sequence the parts before it, in order; each has keys and values, a pair (G, L, D) for
            each layer. Empty if nothing stands before any sequence.
        layers: indices of the layers that have run.
        shapes: for each layer the shapes of the keys and values that its attention saw.
        window: the shortest sliding window of these layers.
        made: what `ends` has made for each device.
    """

    lengths: Sequence[int]
    past: Sequence[Sequence[Past]] = ()
    layers: list[int] = field(default_factory=list)
    shapes: dict[int, tuple[torch.Size, torch.Size]] = field(default_factory=dict)
    window: float = float("inf")
    made: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def positions(self) -> list[int]:
        """(N,) position of each token in its own sequence."""
        return [i for keys, n in zip(self.spans, self.lengths, strict=True) for i in range(keys - n, keys)]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(1, H, N, D) queries, (1, G, N, D) keys and values -> (1, N, H, D)."""
        if _flash_takes(query):
            query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
            return self._together(layer, query, key, value, scale)
        parts = zip(*(x.split(list(self.lengths), 2) for x in (query, key, value)), strict=True)
        out = [self._one(i, layer, q, k, v, scale) for i, (q, k, v) in enumerate(parts)]
        return torch.cat([x.transpose(1, 2) for x in out], 1)

    def _one(
        self, index: int, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None
    ) -> Tensor:
        if not query.shape[2]:  # older versions of torch cannot attend to nothing
            return query.new_zeros(1, query.shape[1], 0, value.shape[3])
        causal, mask = query.shape[2] > 1, None
        if self.past and self.past[index]:
            before = [part[layer] for part in self.past[index]]
            key = torch.cat([*(keys for keys, _ in before), key[0]], 1)[None]
            value = torch.cat([*(values for _, values in before), value[0]], 1)[None]
            causal, mask = False, self.masks[index]
            if mask is not None:
                mask = mask.to(query.device)  # layers may stand on several devices
        kind = query.dtype
        if query.requires_grad and query.device.type == "cpu":
            # On a CPU the backward pass of the kernel takes twice as long in half precision.
            query, key, value = query.float(), key.float(), value.float()
        out = scaled_dot_product_attention(
            query, key, value, mask, scale=scale, is_causal=causal, enable_gqa=True
        )
        return out.to(kind)

    def _together(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(N, H, D) queries, (N, G, D) keys and values -> (1, N, H, D), by one kernel."""
        if any(self.past):
            key, value = (self._after_past(layer, i, own) for i, own in enumerate((key, value)))
        if not _GROUPED:
            key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
        most, ends = (max(self.lengths), max(self.spans)), self.ends(query.device)
        out = varlen_attn(query, key, value, *ends, *most, scale=scale, window_size=(-1, 0), **_GROUPED)
        assert isinstance(out, Tensor)  # a pair only if asked for
        return out[None]

    def _after_past(self, layer: int, which: int, own: Tensor) -> Tensor:
        """(N, G, D) keys or values of the row -> (K, G, D): behind those given for each sequence."""
        rows: list[Tensor] = []
        for parts, new in zip(self.past, own.split(list(self.lengths)), strict=True):
            rows += [*(part[layer][which].transpose(0, 1) for part in parts), new]
        return torch.cat(rows)

    @cached_property
    def spans(self) -> list[int]:
        """(S,) number of keys of each sequence, including the given ones."""
        given = [sum(map(_length, parts)) for parts in self.past] or [0] * len(self.lengths)
        return [g + n for g, n in zip(given, self.lengths, strict=True)]

    def ends(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(S + 1,) where each sequence's queries begin and end in N, and its keys in K; kept by device."""
        if device not in self.made:
            counts = (self.lengths, self.spans)
            queries, keys = (on_device([*accumulate(n, initial=0)], device).int() for n in counts)
            self.made[device] = queries, keys
        return self.made[device]

    @cached_property
    def masks(self) -> list[Tensor | None]:
        """For each sequence (T, L + T): which keys its T tokens see after a past of L; None: all keys."""
        masks: list[Tensor | None] = []
        for parts, n, span in zip(self.past, self.lengths, self.spans, strict=True):
            if n == 1 or not parts:
                masks.append(None)
                continue
            places = torch.arange(span, device=parts[0][0][0].device)
            masks.append(places <= places[-n:, None])
        return masks


def _flash_takes(query: Tensor) -> bool:
    """Whether FlashAttention can take these queries: their device, their dtype and their head size."""
    capability, kinds, most = _FLASH
    return (
        query.is_cuda
        and query.dtype in kinds
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= most
        and torch.cuda.get_device_capability(query.device) >= capability
    )


def _length(past: Past) -> int:
    """The number of positions L of a past."""
    return int(past[0][0].shape[-2])


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_row: PackedRow | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention function that `transformers` calls in each layer."""
    odd = [k for k, v in others.items() if k not in _HARMLESS and v is not None and v is not False]
    if attention_mask is not None or dropout or others.get("is_causal") is False:
        odd.append("attention_mask, dropout or is_causal")
    if odd or packed_row is None or not getattr(module, "is_causal", True):
        raise _Unpackable(", ".join(odd))
    layer = getattr(module, "layer_idx", None)
    if not isinstance(layer, int):
        raise _Unpackable("no layer index")
    packed_row.layers.append(layer)
    packed_row.shapes[layer] = key.shape, value.shape
    packed_row.window = min(packed_row.window, others.get("sliding_window") or float("inf"))
    return packed_row.attend(layer, query, key, value, scaling), None


# No mask function is registered under this name, so the model builds no mask.
AttentionInterface.register(NAME, _attention)


ONE_FORWARD = RLock()
"""Held during a forward pass: how layers attend is a setting of the model, which all threads share."""


@contextmanager
def _within_sequences(config: PreTrainedConfig) -> Iterator[None]:
    """Lets all layers attend within the sequences of a packed row."""
    own = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = own


def run_packed(
    model: PreTrainedModel, embedded: Tensor, row: PackedRow, cache: Cache | None = None
) -> Tensor:
    """Runs the body over a packed row.

    Args:
        model: a causal LM that can be packed (`longest_packed`).
        embedded: (N, d) input vectors.
        row: the division of the N tokens into sequences.
        cache: receives the keys and values of the whole row.

    Returns:
        (N, d) last hidden states.
    """
    body = getattr(model, model.base_model_prefix)
    positions = on_device([row.positions()], embedded.device)
    with ONE_FORWARD, _within_sequences(body.config):
        output = body(
            inputs_embeds=embedded[None],
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            packed_row=row,
        )
    states: Tensor = output.last_hidden_state.flatten(0, 1)
    return states.to(embedded.device)


@torch.no_grad()
def longest_packed(model: PreTrainedModel) -> float:
    """The longest sequence, in tokens, for which a packed row gives the states of separate sequences.

    A trial on a few tokens decides. The attention of every layer must come through the interface without
    features that packing does not compute (soft caps, sinks, biases), and the states must equal those of the
    model's own attention. The cache must hold the keys and values that attention sees; latent attention
    caches others. Layers with a sliding window limit the length to the window. Rotary frequencies that change
    with the longest position limit it to the length up to which they stay the same.

    Returns:
        0 if the model cannot be packed; infinity if nothing limits the length.
    """
    config = model.config.get_text_config(decoder=True)
    chunked = "chunked_attention" in (getattr(config, "layer_types", None) or ())
    if is_recurrent(model) or chunked or not getattr(model, "_supports_attention_backend", False):
        return 0
    embedding = input_embedding(model)
    embedded = embedding(torch.arange(sum(_TRIAL), device=device_of(embedding)))
    row, body, cache = PackedRow(_TRIAL), getattr(model, model.base_model_prefix), DynamicCache()
    with _evaluating(model):
        try:
            packed = run_packed(model, embedded, row, cache)
        except _Unpackable:
            return 0
        every = sorted(row.layers) == list(range(config.num_hidden_layers))
        if not every or row.window < max(_TRIAL) or _shapes(cache) != row.shapes:
            return 0
        with ONE_FORWARD:
            alone = [
                body(inputs_embeds=x[None], use_cache=False).last_hidden_state[0]
                for x in embedded.split(_TRIAL)
            ]
    apart = (packed - torch.cat(alone).to(packed.device)).float().norm() / packed.float().norm()
    return min(row.window, _same_rotation(config)) if apart < _CLOSE.get(packed.dtype, 0.05) else 0


def _shapes(cache: DynamicCache) -> dict[int, tuple[torch.Size, torch.Size]]:
    """Maps each layer to the shapes of its cached keys and values."""
    layers: list[Any] = cache.layers
    return {i: (x.keys.shape, x.values.shape) for i, x in enumerate(layers) if x.is_initialized}


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Turns dropout off within the block, so that it draws no random numbers."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _same_rotation(config: PreTrainedConfig) -> float:
    """The greatest length up to which rotary frequencies do not depend on the length."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]  # one for each type of layer
    lengths = [
        part.get("original_max_position_embeddings") or config.max_position_embeddings
        for part in kinds
        if "dynamic" in str(part.get("rope_type")) or part.get("rope_type") == "longrope"
    ]
    return min(lengths, default=float("inf"))
