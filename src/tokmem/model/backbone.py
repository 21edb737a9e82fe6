"""The backbone: a frozen causal language model of `transformers`, its tokenizer, and what identifies it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tokmem.bank.slots import IdSpace
from tokmem.errors import BackboneError, TokMemError
from tokmem.files import replace_folder
from tokmem.model.catalog import NAMES, SMOLLM2, locate
from tokmem.model.converted import Converted
from tokmem.model.fingerprint import fingerprint
from tokmem.model.gradient import check_once
from tokmem.model.hardware import pick_device, pick_dtype
from tokmem.model.placed import device_of
from tokmem.model.whole import lost_weights

SAVED = "tokmem_backbone.json"  # marks a folder that `save_backbone` wrote
DTypeName = Literal["auto", "fastest", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "8bit", "4bit"]
DeviceMap = Literal["none", "auto", "balanced", "balanced_low_0", "sequential"]
# Settings that change the states of the same weights; the names of all architectures side by side.
_CONFIGURATION = (
    *("hidden_act", "hidden_activation", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "sliding_window", "query_pre_attn_scalar"),
    *("rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "rotary_pct"),
    *("attn_logit_softcapping", "final_logit_softcapping", "logits_scaling", "logit_scale"),
    *("embedding_multiplier", "residual_multiplier", "attention_multiplier"),
)
_RESERVED = re.compile(r"<\|reserved_special_token_(\d+)\|>")


@dataclass(frozen=True)
class Backbone:
    """A frozen model and its tokenizer.

    Attributes:
        model: the causal LM in evaluation mode; none of its parameters takes a gradient.
        tokenizer: its tokenizer.
        id: the hub id, the name in the catalog, or the name of the local folder or GGUF file.
        fingerprint: identifies configuration and weights (see `fingerprint`).
        source_sha256: hex digest of the GGUF file that the weights come from; empty if they come from none.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    id: str
    fingerprint: str
    source_sha256: str = ""

    @property
    def device(self) -> torch.device:
        """Where the input embedding lives."""
        return device_of(input_embedding(self.model))

    @property
    def dim(self) -> int:
        """Hidden size d."""
        return input_embedding(self.model).embedding_dim

    @property
    def configuration(self) -> dict[str, Any]:
        """Settings that change the states of the same weights: norms, rotary frequencies, soft caps, ..."""
        config = self.model.config.get_text_config(decoder=True)
        found = {name: getattr(config, name, None) for name in _CONFIGURATION}
        facts: dict[str, Any] = json.loads(json.dumps(found, default=str))
        return {name: value for name, value in facts.items() if value is not None}

    def id_space(self) -> IdSpace:
        """The ids for memory tokens: reserved tokens in numeric order, then rows past the tokenizer."""
        rows = input_embedding(self.model).num_embeddings
        vocab = self.tokenizer.get_vocab()
        numbered = [
            (int(m[1]), i) for token, i in vocab.items() if (m := _RESERVED.fullmatch(token)) and i < rows
        ]
        past = range(max(vocab.values()) + 1, rows)
        return IdSpace(rows, (*(i for _, i in sorted(numbered)), *past))


def load_backbone(
    name: str | Path = SMOLLM2,
    *,
    dtype: DTypeName | torch.dtype = "auto",
    device: str = "auto",
    device_map: DeviceMap | Mapping[str, str | int | torch.device] = "none",
    quantization: Quantization = "none",
    attention: str | None = None,
    check: bool = True,
) -> Backbone:
    """Loads a backbone and freezes it.

    Args:
        name: a name of the catalog (``smollm2``, ``mini``), a hub id, a local folder, or a
            GGUF file: its path, ``folder:file.gguf``, or ``owner/name:file.gguf`` of the hub. A GGUF file is
            converted once, into the user's cache.
        dtype: ``auto`` takes the checkpoint's own; for a GGUF file, whose numbers are dequantised, and for
            a bundled backbone on a CPU it takes float32. ``fastest`` takes bfloat16 where the device
            multiplies it faster, else float32. A type of torch stands for its name.
        device: ``auto`` takes an accelerator if there is one.
        device_map: divides a model that is larger than one device, through accelerate: ``auto`` and the other
            names choose the places by themselves, a mapping names the place of each module. ``none`` loads
            the model to `device` as a whole.
        quantization: ``8bit`` and ``4bit`` load through bitsandbytes, which must be installed.
        attention: attention implementation of transformers; None lets it choose.
        check: whether to compare a gradient with a finite difference, once for these weights in this form.

    Raises:
        BackboneError: the model cannot be found, is not a decoder-only causal LM, reads token ids outside its
            input embedding, or its gradient is wrong.
        TokMemError: a GGUF file cannot be converted because the disk is full or the cache is not writable.
    """
    name, kind = _checked_choice(name, dtype, quantization)
    place = pick_device(device)
    asked = pick_dtype(kind, place)
    source = locate(name, asked, torch.device(place).type)
    options: dict[str, Any] = {"dtype": asked or (torch.float32 if source.whole_precision else "auto")}
    if attention:
        options["attn_implementation"] = attention
    if quantization != "none":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(**{f"load_in_{quantization}": True})
        options["device_map"] = {"": place}
    if device_map != "none":
        options["device_map"] = device_map
    model, tokenizer = _loaded(name, source.path, options)
    if "device_map" not in options:
        nn.Module.to(model, place)
    backbone = wrap_backbone(model, tokenizer, source.id)
    if source.converted is not None:
        if quantization == "none":
            _check_weights(backbone, source.converted)
        backbone = replace(backbone, source_sha256=source.converted.sha256)
    if check:
        check_once(backbone.model, backbone.fingerprint, name)
    return backbone


def _loaded(
    name: str, path: str, options: Mapping[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a model and its tokenizer through transformers.

    Raises:
        BackboneError: it cannot be loaded, is no decoder-only causal LM, or lacks weights.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if config.is_encoder_decoder:
            raise BackboneError(f"{name} is an encoder-decoder", "a decoder-only causal LM")
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, config=config, trust_remote_code=False, output_loading_info=True, **options
        )
    except TokMemError:
        raise
    except Exception as error:  # a damaged configuration may even divide by zero in transformers
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"backbone {name!r} brings program code of its own, which would run with all your rights",
                "a model whose architecture is in transformers: TokMem runs no code of a repository",
                "choose another, or load it yourself and give TokMem the model and its tokenizer",
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not isinstance(error, OSError | ValueError | ImportError):
            raise BackboneError(
                f"backbone {name!r} cannot be loaded ({type(error).__name__}: {reason})",
                "a causal LM that transformers loads",
                "its config.json may be damaged: get the model again",
            ) from error
        raise BackboneError(
            f"backbone {name!r} cannot be loaded ({reason})",
            f"{NAMES}; a hub has to be reached",
            "check the name, or download the model first and give its folder",
        ) from error
    if lost := lost_weights(*loaded):
        raise BackboneError(
            f"backbone {name!r} lacks weights: {', '.join(lost[:3])}",
            "a whole model: transformers would draw them at random",
            "get the model again",
        )
    return loaded[0], tokenizer


def wrap_backbone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, id: str = "local") -> Backbone:
    """Freezes a model that is already in memory and checks that it can carry memory tokens."""
    check_supported(model)
    model.eval()
    model.requires_grad_(False)
    try:
        mark = fingerprint(model)
    except NotImplementedError as error:  # tensors of another library that are no tensors of numbers
        kinds = sorted({type(p).__name__ for p in model.parameters()} - {"Parameter"})
        raise BackboneError(
            f"{type(model).__name__} with weights of type {', '.join(kinds) or 'unknown'}",
            "plain weights, or those of bitsandbytes",
            "load it with quantization 8bit or 4bit, or without any",
        ) from error
    return Backbone(model, tokenizer, id, mark)


def _checked_choice(
    name: str | Path, dtype: DTypeName | torch.dtype, quantization: Quantization
) -> tuple[str, DTypeName]:
    """The name of a backbone and of its type of numbers; refuses what is neither."""
    if not isinstance(name, str | Path):
        wanted = "the name of a model, or the path of its folder or file"
        raise BackboneError(f"{type(name).__name__} {name!r:.60} as a backbone", wanted)
    kind: Any = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype
    if kind not in get_args(DTypeName):
        raise BackboneError(f"dtype {dtype!r}", f"one of {', '.join(get_args(DTypeName))}")
    if quantization not in get_args(Quantization):
        raise BackboneError(f"quantization {quantization!r}", f"one of {', '.join(get_args(Quantization))}")
    return str(name), kind


def as_backbone(
    given: Backbone | PreTrainedModel | str,
    tokenizer: PreTrainedTokenizerBase | None,
    device: str,
    dtype: DTypeName | torch.dtype,
    device_map: DeviceMap = "none",
) -> Backbone:
    """Makes a backbone of a name, or of a model in memory with its tokenizer; returns a backbone as it is.

    Args:
        given: a backbone, a name as `load_backbone` takes it, or a causal LM.
        tokenizer: that of the causal LM.
        device: where a named backbone goes.
        dtype: of a named backbone's weights.
        device_map: how to divide a named backbone among devices.

    Raises:
        BackboneError: a model comes without a tokenizer, or the backbone cannot be loaded or used.
    """
    if isinstance(given, PreTrainedModel):
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise BackboneError(
                f"{type(given).__name__} and {type(tokenizer).__name__} as its tokenizer",
                "a model with its tokenizer",
                "write TokMem(model, tokenizer), or give the name of a model",
            )
        return wrap_backbone(given, tokenizer)
    if tokenizer is not None:
        raise BackboneError(
            f"{type(tokenizer).__name__} beside {type(given).__name__} {given!r:.40}",
            "a tokenizer beside a model in memory alone",
            "name other arguments, such as bank=...",
        )
    if isinstance(given, Backbone):
        return given
    return load_backbone(given, device=device, dtype=dtype, device_map=device_map)


def _check_weights(backbone: Backbone, held: Converted) -> None:
    """Refuses cached weights that differ from the converted ones."""
    if backbone.fingerprint != held.fingerprint:
        raise BackboneError(
            f"{held.folder} is damaged: its weights have another fingerprint",
            f"{held.fingerprint}, as they were converted",
            "remove the folder; the next call converts the file again",
        )


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Writes weights and tokenizer as a folder that `load_backbone` takes; replaces an older one as a whole.

    Raises:
        TokMemError: the disk is full, or `folder` is a file or a folder that this function did not write.
    """
    with replace_folder(folder, (SAVED, "*")) as draft:
        backbone.model.save_pretrained(draft)
        backbone.tokenizer.save_pretrained(draft)
        facts = {"backbone": backbone.id, "fingerprint": backbone.fingerprint}
        (draft / SAVED).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def input_embedding(model: PreTrainedModel) -> nn.Embedding:
    """The module that reads token ids; its weight is (V, d)."""
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise BackboneError(f"{type(model).__name__} without an input embedding", "a causal LM")
    return embedding


def check_supported(model: PreTrainedModel) -> None:
    """Refuses a model that reads token ids outside its input embedding; the error names the module."""
    embedding = input_embedding(model)
    if model.get_output_embeddings() is None:
        raise BackboneError(f"{type(model).__name__} without an output head", "a causal LM")
    rows = embedding.num_embeddings
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Embedding)
            and module is not embedding
            and module.num_embeddings >= rows // 2
        ):
            raise BackboneError(
                f"{type(model).__name__} reads token ids in {name!r} too (per-layer embeddings)",
                "a model that reads token ids in its input embedding alone",
                "choose another backbone: a memory token has no row there",
            )


def is_recurrent(model: PreTrainedModel) -> bool:
    """Whether some layer keeps a recurrent state; keys and values of a prefix then miss a part of it."""
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    attention = {"full_attention", "sliding_attention", "chunked_attention"}
    return bool(kinds - attention) or bool(getattr(model, "_is_stateful", False))


def most_positions(model: PreTrainedModel) -> int | None:
    """The most tokens that a model with a learned table of positions can read (GPT-2, OPT).

    None if its positions are computed: then no table ends.
    """
    tables = {"wpe", "embed_positions", "position_embeddings"}
    learned = any(
        isinstance(module, nn.Embedding) and name.rpartition(".")[2] in tables
        for name, module in model.named_modules()
    )
    return int(model.config.get_text_config(decoder=True).max_position_embeddings) if learned else None
