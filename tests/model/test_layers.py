from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTBigCodeConfig,
    MambaConfig,
    MixtralConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
    XGLMConfig,
)

from tests import oracles
from tests.tiny import CONFIGS, DIM, SPARE, VOCAB, randomised, tiny_bank, tiny_lm, tiny_model
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.errors import BackboneError, BankError
from tokmem.model import layers
from tokmem.model.layers import MemoryHead, MemoryLookup
from tokmem.model.memory_lm import MemoryLM
from tokmem.train.loss import token_losses


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt-neox"])
def test_lookup_is_the_embedding_of_a_resized_model(name: str) -> None:
    lm = tiny_lm(name, False, "auto", width=2)
    ids = torch.tensor([[3, *lm.bank.slots.token_ids], [*lm.bank.slots.token_ids, 0]])
    weights = oracles.resized_weights(lm.model, lm.bank, lm.bank.steering.rows(), lm.bank.address.rows())
    resized = copy.deepcopy(lm.model.get_input_embeddings())
    resized.weight = nn.Parameter(next(iter(weights.values())))
    assert torch.equal(lm.lookup(ids), resized(ids))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_memory_row_gets_its_gradient_wherever_it_stands(name: str) -> None:
    """The embedding has a padding row without gradient; no memory token may take its place."""
    lm = tiny_lm(name, True, "auto", frozen=0, fresh=4)
    ids = torch.tensor([lm.bank.slots.token_ids])
    lm.lookup(ids).sum().backward()
    scale = 1.0 if "gemma" not in name else DIM**0.5
    torch.testing.assert_close(lm.bank.steering.fresh.grad, torch.full((4, DIM), scale))


def test_lookup_follows_a_bfloat16_backbone_and_keeps_the_bank_in_float32() -> None:
    lm = MemoryLM(tiny_model("llama").bfloat16(), tiny_bank(True, "auto"))
    vectors = lm.lookup(torch.tensor([lm.bank.slots.token_ids]))
    assert torch.equal(vectors[0], lm.bank.steering.rows().bfloat16())
    assert lm.bank.steering.fresh.dtype == torch.float32
    assert lm.head.memory(vectors[0]).dtype == torch.float32


def test_ordinary_ids_are_never_taken_for_memory_tokens() -> None:
    lm = tiny_lm("llama", True, "append")
    every = torch.arange(VOCAB)[None]
    assert torch.equal(lm.lookup(every), lm.model.get_input_embeddings()(every))
    assert not lm.bank.find(every)[1].any()


def test_what_is_added_later_is_seen_at_once() -> None:
    bank = Bank(DIM, IdSpace(VOCAB, SPARE))
    lm = MemoryLM(tiny_model("llama"), bank)
    ids = torch.tensor([[90]])
    assert torch.equal(lm.lookup(ids), lm.model.get_input_embeddings()(ids))
    bank.merge(tiny_bank(True, "auto"))
    assert torch.equal(lm.lookup(ids)[0, 0], bank.rows("old0")[1][0])


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "decoupled"])
def test_head_gives_frozen_logits_and_one_per_procedure(coupled: bool) -> None:
    lm = tiny_lm("llama", coupled, "auto", width=2)
    hidden = torch.randn(3, DIM)
    assert torch.equal(lm.head.frozen(hidden), lm.model.lm_head(hidden))
    memory = lm.head.memory(hidden)
    assert memory.shape == (3, 5)
    torch.testing.assert_close(memory, hidden @ lm.bank.addresses().T)
    assert lm.head.replaced(VOCAB).tolist() == list(range(90, 96))
    assert lm.head.replaced(93, 91).tolist() == [91, 92]


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_parts_of_the_head_are_columns_of_the_whole(name: str) -> None:
    lm, hidden = tiny_lm(name, False), torch.randn(3, DIM) * 9
    whole, parts = lm.head.native(hidden), lm.head.parts(40)
    torch.testing.assert_close(torch.cat([lm.head.part(hidden, rows) for rows in parts], 1), whole)
    assert [rows.stop - rows.start for rows in parts] == [40] * 3
    some = torch.tensor([5, 5, 70])
    torch.testing.assert_close(lm.head.part(hidden, some), whole[:, some])
    lm.model.lm_head.register_forward_hook(lambda module, given, out: out + 1)
    assert lm.head.parts(40) == [slice(0, None)]
    assert torch.equal(lm.head.part(hidden, some), lm.head.native(hidden)[:, some])


def test_a_head_is_not_divided_where_something_changes_what_it_is_given() -> None:
    lm, hidden = tiny_lm("llama"), torch.randn(3, DIM)
    lm.model.lm_head.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    assert not lm.head.divides
    assert torch.equal(lm.head.part(hidden, slice(10, 30)), lm.head.native(hidden)[:, 10:30])


def doubled(module: torch.nn.Module, kind: str) -> None:
    """Makes an output head give twice its logits, in one of the ways that libraries use."""
    forward = module.forward
    if kind == "hook":
        module.register_forward_hook(lambda module, given, out: 2 * out)
    elif kind == "hook with keywords":
        module.register_forward_hook(lambda module, given, named, out: 2 * out, with_kwargs=True)
    elif kind == "earlier hook":
        module.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    elif kind == "earlier hook with keywords":
        module.register_forward_pre_hook(
            lambda module, *given: ((2 * given[0][0],), given[1]), with_kwargs=True
        )
    else:
        module.forward = lambda hidden: 2 * forward(hidden)


@pytest.mark.parametrize(
    "kind", ["hook", "hook with keywords", "earlier hook", "earlier hook with keywords", "other forward"]
)
def test_what_hooks_into_the_head_reaches_the_loss(kind: str) -> None:
    lm, hidden = tiny_lm("llama", False), torch.randn(4, DIM) * 9
    targets = torch.tensor([5, 40, 60, 70])
    assert lm.head.divides
    doubled(lm.model.lm_head, kind)
    assert not lm.head.divides
    frozen = lm.head.frozen(hidden)
    torch.testing.assert_close(frozen, 2 * hidden @ lm.model.lm_head.weight.T)
    frozen[:, lm.head.replaced(VOCAB)] = -torch.inf
    logits = torch.cat([frozen, lm.head.memory(hidden)], 1)
    wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(token_losses(lm.head, hidden, targets), wanted)


def test_a_bias_of_the_head_is_divided_too() -> None:
    lm, hidden = tiny_lm("llama"), torch.randn(3, DIM)
    lm.model.lm_head.bias = torch.nn.Parameter(torch.randn(VOCAB), requires_grad=False)
    part = lm.head.part(hidden, slice(10, 30))
    torch.testing.assert_close(part, lm.head.native(hidden)[:, 10:30])


def test_head_applies_the_soft_cap_to_memory_logits() -> None:
    lm = tiny_lm("gemma2", False)
    hidden = torch.randn(3, DIM) * 20
    raw = hidden @ lm.bank.addresses().T
    assert raw.abs().max() > 10
    torch.testing.assert_close(lm.head.memory(hidden), 5 * torch.tanh(raw / 5))


def test_the_backbone_is_left_whole() -> None:
    model = tiny_model("llama")
    before = dict(model.named_modules())
    lm = MemoryLM(model, tiny_bank(True, "auto"))
    lm.lookup(torch.tensor([[90]]))
    lm.head.memory(torch.randn(1, DIM))
    assert dict(model.named_modules()) == before
    assert isinstance(MemoryLookup(model, lm.bank).embedding, nn.Embedding)
    assert model.get_input_embeddings().padding_idx == 0


def test_an_empty_bank_has_no_memory_logits() -> None:
    head = MemoryHead(tiny_model("llama"), Bank(DIM, IdSpace(VOCAB)))
    assert head.memory(torch.randn(2, DIM)).shape == (2, 0)


def test_a_bank_of_another_width_is_refused() -> None:
    with pytest.raises(BankError, match=r"dimension 8.*the backbone's 32"):
        MemoryLM(tiny_model("llama"), Bank(8, IdSpace(VOCAB)))


def test_a_nested_head_is_refused() -> None:
    class Nested(nn.Module):
        base_model_prefix = "model"

        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_model("llama")

        def get_input_embeddings(self) -> nn.Module:
            return self.inner.get_input_embeddings()

        def get_output_embeddings(self) -> nn.Module:
            return self.inner.get_output_embeddings()

    with pytest.raises(BackboneError, match="Nested with its body or head nested deeper"):
        MemoryHead(Nested(), tiny_bank(True, "auto"))


SMALL = {"vocab_size": VOCAB, "hidden_size": DIM, "num_hidden_layers": 1, "num_attention_heads": 2}
WIDE = {**SMALL, "intermediate_size": 16}
FEW = {"num_experts_per_tok": 1, "moe_intermediate_size": 8}
READS_MORE = {
    "gpt2": lambda: GPT2Config(**SMALL, n_positions=16),
    "gpt-bigcode": lambda: GPTBigCodeConfig(**SMALL, n_positions=16),
    "xglm": lambda: XGLMConfig(**SMALL, ffn_dim=16),
    "mixtral": lambda: MixtralConfig(**WIDE, num_key_value_heads=1, num_local_experts=2),
    "qwen3-moe": lambda: Qwen3MoeConfig(**WIDE, **FEW, num_key_value_heads=1, num_experts=2),
}


@pytest.mark.parametrize("name", READS_MORE)
def test_a_model_that_reads_optional_outputs_of_its_body_gives_its_own_logits(name: str) -> None:
    model = randomised(READS_MORE[name]()).eval().requires_grad_(False)
    head, ids = MemoryHead(model, tiny_bank(False, "auto")), torch.arange(5)[None]
    states = getattr(model, model.base_model_prefix)(ids).last_hidden_state[0]
    torch.testing.assert_close(head.native(states), model(ids).logits[0])
    torch.testing.assert_close(head.memory(states), states @ head.bank.addresses().T)


@pytest.mark.parametrize("kind", [OPTConfig, MambaConfig])
def test_a_model_that_reads_parts_of_its_body_is_refused_at_once(kind: type[PreTrainedConfig]) -> None:
    model = AutoModelForCausalLM.from_config(kind(**SMALL, word_embed_proj_dim=DIM, pad_token_id=1))
    with pytest.raises(BackboneError, match=r"reads more of its body than hidden states \(.*choose another"):
        MemoryHead(model, tiny_bank(True, "auto"))


def test_addresses_get_their_gradient_in_float32_under_a_half_precision_backbone() -> None:
    lm = MemoryLM(tiny_model("llama").to(torch.bfloat16), tiny_bank(True, "auto", frozen=0, fresh=4))
    hidden = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    states = hidden.clone().requires_grad_()
    weights = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    (lm.head.memory(states) * weights).sum().backward()
    rows = lm.bank.steering.fresh
    assert rows.grad.dtype == torch.float32
    torch.testing.assert_close(rows.grad, weights.float().T @ hidden.float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(states.grad, weights @ rows.detach().to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_in_parts_are_those_of_the_whole(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = torch.randn(2, 5, 8, dtype=dtype, requires_grad=True)
    rows, upstream = torch.randn(11, 8, requires_grad=True), torch.randn(2, 5, 11, dtype=dtype)
    whole = nn.functional.linear(hidden, rows.to(dtype))
    wanted = torch.autograd.grad(whole, (hidden, rows), upstream)
    monkeypatch.setattr(layers, "_PART", 4)
    made = layers._Product.apply(hidden, rows)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}
    torch.testing.assert_close(made, whole, **close)
    for got, right in zip(torch.autograd.grad(made, (hidden, rows), upstream), wanted, strict=True):
        torch.testing.assert_close(got, right, **close)
