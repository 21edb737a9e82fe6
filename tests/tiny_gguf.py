"""Writes a tiny random Llama as a GGUF file with the reference writer, and returns the weights as stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.data.tiny_chat import CONTROLS, QWEN, tiny_tokenizer
from tests.tiny import CONFIGS, randomised

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def chat_tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer(QWEN, bos="<|im_start|>", eos="<|im_end|>")


def tiny_tied_llama(rows: int) -> PreTrainedModel:
    torch.manual_seed(0)
    config = CONFIGS["llama-tied"]()
    config.vocab_size, config.max_position_embeddings, config.intermediate_size = rows, 512, 64
    return randomised(config).eval()


def write_gguf(
    path: Path,
    *,
    kind: str = "Q8_0",
    leave_out: str = "",
    spoil: str = "",
    model: PreTrainedModel | None = None,
    sizes: Mapping[str, int] | None = None,
    first_merge: str = "",
) -> PreTrainedModel:
    """Writes the file; gives the model that it describes, with the weights as they were quantised.

    Args:
        path: of the file.
        kind: how matrices are quantised.
        leave_out: end of the name of a tensor that is not written.
        spoil: end of the name of a tensor that gets a NaN.
        model: a tied Llama for `chat_tokenizer`; None takes a random one.
        sizes: entries of the model's configuration that the file gets wrong.
        first_merge: takes the place of the tokenizer's first merge.
    """
    tokenizer = chat_tokenizer()
    model = model or tiny_tied_llama(len(tokenizer))
    writer = GGUFWriter(path, "llama")
    config = model.config.to_dict() | {"head_dim": model.config.head_dim} | dict(sizes or {})
    _write_config(writer, SimpleNamespace(**config))
    _write_tokenizer(writer, tokenizer, first_merge)
    for name, weight in model.named_parameters():
        given, kept = _stored(name, weight, model, kind)
        weight.data = kept
        if spoil and name.endswith(spoil):
            given.reshape(-1)[0] = np.nan
        if not leave_out or not name.endswith(leave_out):
            quantised = GGMLQuantizationType[kind] if given.dtype == np.uint8 else None
            writer.add_tensor(_gguf_name(name), given, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _write_config(writer: GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, first_merge: str) -> None:
    tokens = [tokenizer.convert_ids_to_tokens(index) for index in range(len(tokenizer))]
    kinds = [CONTROL if t in CONTROLS else USER_DEFINED if t == "<unused0>" else NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = _merges(tokenizer)
    writer.add_token_merges([first_merge or merges[0], *merges[1:]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _merges(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _gguf_name(name: str) -> str:
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.weight"


def _stored(
    name: str, weight: Tensor, model: PreTrainedModel, kind: str
) -> tuple[NDArray[np.generic], Tensor]:
    """What the file holds of a weight, and the weight that it stands for."""
    values = weight.detach().numpy()
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    count = next((n for part, n in heads.items() if part in name), None)
    if count:
        values = values.reshape(count, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    if weight.ndim == 1 or kind == "F32":
        return values.copy(), weight.detach().clone()
    stored = quantize(values, GGMLQuantizationType[kind])
    kept = dequantize(stored, GGMLQuantizationType[kind])
    if count:
        kept = kept.reshape(count, -1, 2, kept.shape[1]).swapaxes(1, 2).reshape(kept.shape)
    return stored, torch.from_numpy(kept.copy())
