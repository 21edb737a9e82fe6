"""Tiny random models of every architecture that TokMem is tested on, and examples for them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
)

from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdPolicy, IdSpace
from tokmem.model.backbone import Backbone, wrap_backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.generate import Recaller
from tokmem.records import Encoded, Procedure

VOCAB = 96
SPARE = (90, 91, 92, 93, 94, 95)
DIM = 32
STOP = 1


def _config(kind: type[PreTrainedConfig], tied: bool, **more: object) -> PreTrainedConfig:
    return kind(
        vocab_size=VOCAB,
        hidden_size=DIM,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=STOP,
        **more,
    )


def _grouped(kind: type[PreTrainedConfig], tied: bool, **more: object) -> PreTrainedConfig:
    return _config(kind, tied, num_key_value_heads=2, head_dim=8, **more)


CONFIGS = {
    "llama": lambda: _grouped(LlamaConfig, False),
    "llama-tied": lambda: _grouped(LlamaConfig, True),
    "qwen2": lambda: _config(Qwen2Config, True, num_key_value_heads=2),
    "qwen3": lambda: _grouped(Qwen3Config, False),
    "gemma2": lambda: _grouped(
        Gemma2Config,
        True,
        final_logit_softcapping=5.0,
        attn_logit_softcapping=10.0,
        sliding_window=6,
        query_pre_attn_scalar=8,
    ),
    "gemma3": lambda: _grouped(
        Gemma3TextConfig,
        True,
        final_logit_softcapping=5.0,
        sliding_window=6,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "mistral": lambda: _grouped(MistralConfig, False, sliding_window=5),
    "gpt-neox": lambda: _config(GPTNeoXConfig, False),
}


def tiny_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A frozen random float32 model; weights are large enough that attention matters."""
    torch.manual_seed(seed)
    return randomised(CONFIGS[name]()).eval().requires_grad_(False)


def scaled_model() -> PreTrainedModel:
    """A model that scales its attention scores by a factor of its own, four times the usual one."""
    torch.manual_seed(0)
    config = _grouped(GraniteConfig, False, attention_multiplier=4 / 8**0.5)
    return randomised(config).eval().requires_grad_(False)


def randomised(config: PreTrainedConfig) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.15)
    return model


def tiny_plain_examples(count: int, *, seed: int = 0) -> list[Encoded]:
    """Examples of random ids without memory tokens: prompts of 1 to 14 tokens, responses of 1 to 6."""
    rng = Random(seed)
    examples = []
    for index in range(count):
        prompt = [2, *(rng.randrange(3, 90) for _ in range(rng.randint(0, 13)))]
        response = [*(rng.randrange(3, 90) for _ in range(rng.randint(0, 5))), STOP]
        flags = (*[False] * len(prompt), *[True] * len(response))
        examples.append(Encoded((*prompt, *response), flags, len(flags), str(index)))
    return examples


def tiny_backbone(tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> Backbone:
    """A random Llama with a row for every token of a tokenizer, and eight past it."""
    torch.manual_seed(seed)
    config = CONFIGS["llama"]()
    config.vocab_size, config.max_position_embeddings = len(tokenizer) + 8, 512
    return wrap_backbone(randomised(config), tokenizer, "tiny")


def tiny_bank(
    coupled: bool, policy: IdPolicy, *, frozen: int = 2, fresh: int = 3, width: int = 1, seed: int = 0
) -> Bank:
    """A bank with procedures `old0`.. that are frozen and `new0`.. that are trainable."""
    draws = torch.Generator().manual_seed(seed)
    bank = Bank(DIM, IdSpace(VOCAB, SPARE), coupled=coupled, policy=policy)
    for prefix, count in (("old", frozen), ("new", fresh)):
        if not count:
            continue
        steering = torch.randn(count, width, DIM, generator=draws) * 0.3
        address = None if coupled else torch.randn(count, DIM, generator=draws) * 0.3
        bank.add([Procedure(f"{prefix}{i}") for i in range(count)], steering, address)
        if prefix == "old":
            bank.freeze()
    return bank


def tiny_lm(name: str, coupled: bool = True, policy: IdPolicy = "auto", **options: int) -> MemoryLM:
    """A tiny model with a tiny bank."""
    return MemoryLM(tiny_model(name), tiny_bank(coupled, policy, **options))


def tiny_examples(bank: Bank, count: int, *, chain: int = 2, seed: int = 0) -> list[Encoded]:
    """Examples of random ids with prefixes of 1 to 14 tokens and 1 to `chain` turns."""
    rng = Random(seed)
    examples = []
    for index in range(count):
        prefix = [2, *(rng.randrange(3, 90) for _ in range(rng.randint(0, 13)))]
        body: list[int] = []
        supervised: list[bool] = []
        for _ in range(rng.randint(1, chain)):
            ids = bank.slots.ids(rng.choice(bank.names))
            response = [rng.randrange(3, 90) for _ in range(rng.randint(0, 5))]
            body += [*ids, *response]
            supervised += [True] + [False] * (len(ids) - 1) + [True] * len(response)
        ids = (*prefix, *body, STOP)
        flags = (*[False] * len(prefix), *supervised, True)
        examples.append(Encoded(ids, flags, len(prefix), str(index)))
    return examples


class WordCounts:
    """A text encoder without a model: how often each word occurs, words hashed to 256 places.

    `asked` records every text that was embedded.
    """

    name = "word-counts"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        vectors = torch.zeros(len(texts), 256)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                vector[crc32(word.encode()) % 256] += 1
        return vectors


def recorded_prompts(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """A list to which every prompt is added that a `Recaller` is given from now on."""
    prompts: list[list[int]] = []
    generate = Recaller.__call__

    def recording(self: Recaller, given: Sequence[Sequence[int]], *rest: Any, **options: Any) -> Any:
        prompts.extend(list(ids) for ids in given)
        return generate(self, given, *rest, **options)

    monkeypatch.setattr(Recaller, "__call__", recording)
    return prompts
