from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, DynamicCache, JetMoeConfig, MiniCPM3Config, PreTrainedModel

from tests.tiny import (
    CONFIGS,
    DIM,
    VOCAB,
    randomised,
    scaled_model,
    tiny_bank,
    tiny_examples,
    tiny_lm,
    tiny_model,
)
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.packed import longest_packed
from tokmem.model.prefix import read_prefixes
from tokmem.train.step import frozen_prefix_loss, plain_loss

LIMITS = {"gemma2": 0, "gemma3": 6, "mistral": 5}
SEQUENCES = [(2, 7, 30), (5,), (11, 90, 3, 44, 8)]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_can_be_packed(name: str) -> None:
    model = tiny_model(name)
    own = model.config._attn_implementation
    assert longest_packed(model) == LIMITS.get(name, inf)
    assert model.config._attn_implementation == own


@pytest.mark.parametrize(("kind", "limit"), [("linear", inf), ("dynamic", 64), ("longrope", 32)])
def test_frequencies_that_change_with_length_limit_it(kind: str, limit: float) -> None:
    config = tiny_model("llama").config
    config.max_position_embeddings = 64
    config.rope_parameters = {"rope_theta": 1e4, "rope_type": kind, "factor": 2.0}
    if kind == "longrope":
        half = config.head_dim // 2
        config.rope_parameters |= {"short_factor": [1.0] * half, "long_factor": [2.0] * half}
        config.rope_parameters["original_max_position_embeddings"] = 32
    assert longest_packed(AutoModelForCausalLM.from_config(config).eval()) == limit


def alone(lm: MemoryLM, ids: tuple[int, ...]) -> Tensor:
    tensor = torch.tensor([ids])
    return lm.hidden(tensor, torch.ones_like(tensor), torch.arange(len(ids))[None])[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_row_is_its_sequences(dtype: torch.dtype) -> None:
    lm = MemoryLM(tiny_model("qwen3").to(dtype), tiny_bank(True, "auto"))
    wanted = torch.cat([alone(lm, ids) for ids in SEQUENCES])
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(lm.packed(SEQUENCES), wanted, **close)


def test_scores_are_scaled_as_the_model_scales_them() -> None:
    lm = MemoryLM(scaled_model(), tiny_bank(True, "auto"))
    assert lm.longest_packed == inf
    wanted = torch.cat([alone(lm, ids) for ids in SEQUENCES])
    torch.testing.assert_close(lm.packed(SEQUENCES), wanted, rtol=1e-4, atol=1e-5)


def not_causal(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.is_causal = False


def mixes_neighbours(model: PreTrainedModel) -> None:
    def mixed(module: nn.Module, given: Any, out: Tensor) -> Tensor:
        return out + torch.cat([torch.zeros_like(out[:, :1]), out[:, :-1]], 1)

    model.model.layers[0].mlp.register_forward_hook(mixed)


def passes_by(model: PreTrainedModel) -> None:
    class Own(nn.Module):
        def forward(self, hidden_states: Tensor, **_: object) -> tuple[Tensor, None]:
            return hidden_states, None

    model.model.layers[1].self_attn = Own()


def adds_sinks(model: PreTrainedModel) -> None:
    def given(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "s_aux": torch.zeros(4)}

    model.model.layers[0].self_attn.register_forward_pre_hook(given, with_kwargs=True)


def reads_chunks(model: PreTrainedModel) -> None:
    model.config.layer_types = ["chunked_attention", "full_attention"]


@pytest.mark.parametrize("change", [not_causal, mixes_neighbours, passes_by, adds_sinks, reads_chunks])
def test_attention_of_another_kind_is_not_packed(change: Any) -> None:
    model = tiny_model("llama")
    change(model)
    assert longest_packed(model) == 0


HEADS = {"num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": VOCAB, "hidden_size": DIM}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
CACHES_MORE = {
    "minicpm3": lambda: MiniCPM3Config(**HEADS, **LATENT, num_attention_heads=2, intermediate_size=16),
    "jetmoe": lambda: JetMoeConfig(**HEADS, kv_channels=8, num_local_experts=2, intermediate_size=16),
}


@pytest.mark.parametrize("name", CACHES_MORE)
def test_a_cache_of_other_keys_than_attention_sees_is_padded(name: str) -> None:
    model = randomised(CACHES_MORE[name]()).eval().requires_grad_(False)
    lm = MemoryLM(model, tiny_bank(False, "auto"))
    assert lm.longest_packed == 0
    examples = tiny_examples(lm.bank, 3)
    prefixes = read_prefixes(lm, [e.ids[: e.prefix] for e in examples])
    found, wanted = frozen_prefix_loss(lm, examples, prefixes), plain_loss(lm, examples)
    torch.testing.assert_close(found.total, wanted.total)


def test_the_trial_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    first = lm.longest_packed
    monkeypatch.setattr("tokmem.model.memory_lm.longest_packed", None)
    assert lm.longest_packed == first == inf


def test_attention_over_a_past_has_the_kernels_gradient_in_half_precision() -> None:
    """There the scores are made in float32; some of the sequences have no past."""
    lm = MemoryLM(tiny_model("qwen3").to(torch.bfloat16), tiny_bank(True, "auto"))
    exact = MemoryLM(tiny_model("qwen3"), tiny_bank(True, "auto"))
    gradients = []
    for each in (lm, exact):
        cache = DynamicCache()
        with torch.no_grad():
            each.packed([(3, 4, 5, 6)], cache=cache)
        past = [(x.keys[0], x.values[0]) for x in cache.layers]
        states = each.packed([(92, 8, 9), (93, 7)], [[past], ()])
        weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
        (states.float() * weights).sum().backward()
        gradients.append(each.bank.steering.fresh.grad)
    assert gradients[1].abs().max() > 1e-2
    apart = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert apart < 0.05


def states_and_gradient(lm: MemoryLM, *, given: bool) -> tuple[Tensor, Tensor]:
    """States of sequences with a memory token in each, and the gradient of its row of a weighted sum."""
    sequences = [(ids[0], *lm.read.slots.ids(f"new{n}"), *ids[1:]) for n, ids in enumerate(SEQUENCES)]
    past = [read_prefixes(lm, [ids])[0].parts for ids in ((3, 4), (9, 1, 7), (6,))] if given else ()
    states = lm.packed(sequences, past).float()
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(0)).to(states.device)
    (gradient,) = torch.autograd.grad((states * weights).sum(), [lm.read.steering.fresh])
    assert gradient.norm() > 0
    return states, gradient.float()


def together(
    query: Tensor, key: Tensor, value: Tensor, queries: Tensor, keys: Tensor, *most: int, **options: Any
) -> Tensor:
    """What FlashAttention of variable length computes, sequence by sequence: causal from the last key."""
    assert options.get("window_size") == (-1, 0)
    assert most == (int(queries.diff().max()), int(keys.diff().max()))
    out = []
    for q, (a, b) in zip(query.split(queries.diff().tolist()), pairwise(keys.tolist()), strict=True):
        places = torch.arange(b - a)
        seen = places <= places[-len(q) :, None]
        parts = (x.transpose(0, 1)[None] for x in (q, key[a:b], value[a:b]))
        found = scaled_dot_product_attention(*parts, seen, scale=options["scale"], enable_gqa=True)
        out.append(found[0].transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("given", [False, True])
def test_one_kernel_attends_as_many_calls_do(monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    lm = MemoryLM(tiny_model("qwen3"), tiny_bank(True, "auto"))
    wanted = states_and_gradient(lm, given=given)
    monkeypatch.setattr("tokmem.model.packed._flash_takes", lambda query: True)
    calls: list[int] = []

    def counted(*inputs: Any, **options: Any) -> Tensor:
        calls.append(1)
        return together(*inputs, **options)

    monkeypatch.setattr("tokmem.model.packed.varlen_attn", counted)
    found_by_one = states_and_gradient(lm, given=given)
    passes = 4 if given else 1  # three read the prefixes
    assert len(calls) == passes * lm.model.config.num_hidden_layers  # one a layer, not one a sequence
    for found, expected in zip(found_by_one, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("given", [False, True])
def test_flash_attention_gives_the_states_and_gradients_of_float32(given: bool) -> None:
    exact, half = (
        states_and_gradient(
            MemoryLM(tiny_model("qwen3").to("cuda", dtype), tiny_bank(True, "auto")), given=given
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    for found, expected in zip(half, exact, strict=True):
        assert (found - expected).norm() < 0.03 * expected.norm()
