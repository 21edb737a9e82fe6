"""The layers with which a frozen model reads memory tokens (`MemoryLookup`) and writes them (`MemoryHead`).

A memory token is a row beside the vocabulary. Both layers go through the backbone's own modules, so a bank
row gets the same treatment as the backbone's rows: Gemma's embedding module multiplies by sqrt(d), and the
forward of the causal LM applies soft caps and scales to logits. Neither layer copies a V x d matrix or loops
over memory tokens.

Letters: B batch, T positions, N chosen positions, d hidden size, V rows of the backbone, P procedures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from tokmem.bank.bank import Bank
from tokmem.errors import BackboneError
from tokmem.model.backbone import input_embedding
from tokmem.model.placed import bare_copy, device_of

_PART = 8192  # rows of a large bank that are cast at a time


class MemoryLookup:
    """Maps token ids to input vectors: a bank row for a memory id, the frozen embedding for other ids."""

    def __init__(self, model: PreTrainedModel, bank: Bank) -> None:
        embedding = input_embedding(model)
        self.bank, self.embedding = bank, embedding
        # The same module with other weights. padding_idx would block the gradient of one row.
        rows = bare_copy(embedding)
        rows._parameters = dict(embedding._parameters)
        rows.padding_idx = None
        self._as_rows = rows

    def __call__(self, ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, d) input vectors in the backbone's dtype."""
        if len(self.bank) == 0:
            embedded: Tensor = self.embedding(ids)
            return embedded
        slots, is_memory = self.bank.find(ids)
        slots = slots.masked_fill(~is_memory, 0)
        plain = self.embedding(ids.masked_fill(is_memory, 0))
        rows = self.bank.steering.gather(slots).flatten(0, -2).to(self.embedding.weight.dtype)
        index = torch.arange(len(rows), device=ids.device).view(ids.shape)
        memory = functional_call(self._as_rows, {"weight": rows}, (index,))
        return torch.where(is_memory.unsqueeze(-1), memory, plain)


class _States(BaseModelOutputWithPast):
    """The output of a body, with what the forward passes of some causal LMs read besides."""

    router_logits = cross_attentions = aux_loss = None


class _Hidden(nn.Module):
    """Replaces the backbone's body: returns the hidden states that it is given."""

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> _States:
        return _States(last_hidden_state=inputs_embeds)


class _Product(torch.autograd.Function):
    """(B, N, d) states, (P, d) float32 rows -> (B, N, P) products in the states' dtype.

    The rows are cast part by part, and again in the backward pass, so no copy of a large bank is kept. Their
    gradient is computed directly in float32; autograd through a cast would hold a second copy.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, rows)
        parts = [nn.functional.linear(hidden, part.to(hidden.dtype)) for part in rows.split(_PART)]
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        hidden, rows = ctx.saved_tensors
        states = gradient = None
        parts = list(zip(upstream.split(_PART, -1), rows.split(_PART), strict=True))
        if ctx.needs_input_grad[0]:
            products = torch.stack([part @ few.to(hidden.dtype) for part, few in parts])
            states = products.float().sum(0).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            flat, gradient = hidden.flatten(0, -2).float(), torch.empty_like(rows)
            for (part, _), few in zip(parts, gradient.split(_PART), strict=True):
                torch.mm(part.flatten(0, -2).float().T, flat, out=few)
        return states, gradient


class _Rows(nn.Module):
    """Replaces the output head: multiplies by the rows that were set before the call."""

    rows: list[Tensor]

    def forward(self, hidden: Tensor) -> Tensor:
        products = [_Product.apply(hidden, part) for part in self.rows]  # type: ignore[no-untyped-call]
        return torch.cat(products, dim=-1)


class _Part(nn.Module):
    """Replaces a linear output head: has only those of its rows that were set before the call."""

    weight: Tensor
    bias: Tensor | None

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.weight, self.bias)


class MemoryHead:
    """Maps hidden states to the backbone's logits, and to the logits of memory tokens, `h @ address.T`.

    Both come from the causal LM's own forward, with the hidden states in place of its body. So scales and
    soft caps apply to both.

    Attributes:
        model_rows: V.
    """

    def __init__(self, model: PreTrainedModel, bank: Bank) -> None:
        self.bank = bank
        body = model.base_model_prefix
        head = next((n for n, m in model.named_children() if m is model.get_output_embeddings()), None)
        if body not in model._modules or head is None:
            raise BackboneError(
                f"{type(model).__name__} with its body or head nested deeper",
                "a causal LM of one body and one head",
            )
        self.model_rows = input_embedding(model).num_embeddings
        self._frozen = bare_copy(model)
        self._frozen._modules = {**model._modules, body: _Hidden()}
        self._output: Any = model.get_output_embeddings()
        self._part = _Part()
        self._divided = bare_copy(model)
        self._divided._modules = {**self._frozen._modules, head: self._part}
        self._rows = _Rows()
        self._memory = bare_copy(model)
        self._memory._modules = {**self._frozen._modules, head: self._rows}
        self._check(model)

    @torch.no_grad()
    def _check(self, model: PreTrainedModel) -> None:
        """Runs the memory head once, on one row, so that a model it cannot serve fails here."""
        embedding = input_embedding(model)
        state = torch.zeros(
            1, embedding.embedding_dim, dtype=embedding.weight.dtype, device=device_of(embedding)
        )
        self._rows.rows = [state]
        try:
            self._memory(inputs_embeds=state[None], use_cache=False)
        except AttributeError as error:
            raise BackboneError(
                f"{type(model).__name__} reads more of its body than hidden states ({error})",
                "a causal LM that computes its logits from the last hidden states alone",
                "choose another backbone",
            ) from error

    @property
    def trains(self) -> bool:
        """Whether a parameter of the output head takes a gradient."""
        return any(p.requires_grad for p in self._output.parameters())

    @property
    def divides(self) -> bool:
        """Whether parts of the vocabulary can be computed alone: the head is linear and has no hooks."""
        own = vars(self._output)
        hooked = "forward" in own or own["_forward_hooks"] or own["_forward_pre_hooks"]
        return type(self._output) is nn.Linear and not hooked

    def parts(self, size: int) -> list[slice]:
        """The vocabulary in parts of at most `size` rows; one part if the head does not divide."""
        if not self.divides:
            return [slice(0, None)]
        rows = len(self._output.weight)
        return [slice(start, start + size) for start in range(0, rows, size)]

    def part(self, hidden: Tensor, rows: slice | Tensor) -> Tensor:
        """(N, d) hidden states -> columns `rows` of `native`; computes only these if the head divides."""
        if not self.divides:
            return self.native(hidden)[:, rows]
        bias = self._output.bias
        self._part.weight = self._output.weight[rows].detach()
        self._part.bias = None if bias is None else bias[rows].detach()
        logits: Tensor = self._divided(inputs_embeds=hidden[None], use_cache=False).logits
        return logits.flatten(0, 1)

    def native(self, hidden: Tensor) -> Tensor:
        """(N, d) hidden states -> (N, V) logits of the backbone in its dtype, including replaced rows."""
        logits: Tensor = self._frozen(inputs_embeds=hidden[None], use_cache=False).logits
        # The gradient of logits[0] would be a copy. The head may stand on another device.
        return logits.flatten(0, 1).to(hidden.device)

    def frozen(self, hidden: Tensor) -> Tensor:
        """The same as `native`, in float32."""
        return self.native(hidden).float()

    def memory(self, hidden: Tensor) -> Tensor:
        """(N, d) hidden states -> (N, P) float32 logits of the memory tokens, in slot order."""
        if len(self.bank) == 0:
            return hidden.new_zeros(len(hidden), 0, dtype=torch.float32)
        self._rows.rows = self.bank.address.segments()
        logits = self._memory(inputs_embeds=hidden[None], use_cache=False).logits[0].float()
        heads = self.bank.head_slots
        return logits if len(heads) == logits.shape[-1] else logits[:, heads]

    def replaced(self, stop: int, start: int = 0) -> Tensor:
        """(R,) ids from `start` to below `stop` whose rows memory tokens replace."""
        return self.bank.ids_within(start, stop)
