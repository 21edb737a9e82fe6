"""Three ways to train memory tokens with one interface: rows, and the loss of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bench.plain import PlainLoop, whole_batch
from tokmem.bank.bank import Bank
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import Prefix, read_prefixes
from tokmem.records import Encoded
from tokmem.train.optim import Group, build_adamw
from tokmem.train.step import frozen_prefix_loss


class Contender(Protocol):
    """A way to train.

    Attributes:
        rows: (S, d) the only parameter that trains, in slot order.
    """

    rows: nn.Parameter

    def loss(self, examples: Sequence[Encoded]) -> Tensor:
        """Returns the mean loss over the supervised tokens, with its graph."""
        ...


class Peft:
    """PEFT's TrainableTokens on the embedding (which is also the head), with the loss of `transformers`."""

    def __init__(self, model: PreTrainedModel, ids: Sequence[int], rows: Tensor) -> None:
        from peft import TrainableTokensConfig, get_peft_model

        # PEFT rebuilds the module tree that it is given; the weights are shared.
        own = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        config = TrainableTokensConfig(token_indices=list(ids), target_modules=["embed_tokens"])
        self.model = get_peft_model(own, config)
        (self.rows,) = (p for p in self.model.parameters() if p.requires_grad)
        with torch.no_grad():
            self.rows.copy_(rows)

    def loss(self, examples: Sequence[Encoded]) -> Tensor:
        """Computes the loss as PEFT's users do: passes labels to the forward."""
        ids, mask, labels = whole_batch(examples, self.rows.device)
        return self.model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss


class FrozenPrefix:
    """TokMem's own step; it reads the prefixes of the present batch and keeps nothing between steps."""

    def __init__(self, model: PreTrainedModel, bank: Bank) -> None:
        self.lm = MemoryLM(model, bank)
        self.rows = bank.steering.fresh

    def loss(self, examples: Sequence[Encoded]) -> Tensor:
        """Reads prefixes without a graph, then memory tokens and responses with one."""
        prefixes = read_prefixes(self.lm, [e.ids[: e.prefix] for e in examples])
        loss = frozen_prefix_loss(self.lm, examples, prefixes)
        return loss.total / loss.count


def suffix_step(
    lm: MemoryLM, optimizer: torch.optim.Optimizer, examples: Sequence[Encoded], prefixes: Sequence[Prefix]
) -> None:
    """Runs TokMem's step after the prefixes were read: forward, backward, optimizer."""
    optimizer.zero_grad(set_to_none=True)
    loss = frozen_prefix_loss(lm, examples, prefixes)
    (loss.total / loss.count).backward()
    optimizer.step()


BUILDERS: dict[str, Callable[[PreTrainedModel, Bank], Contender]] = {
    "plain": lambda model, bank: PlainLoop(model, bank.slots.token_ids, bank.steering.rows()),
    "peft": lambda model, bank: Peft(model, bank.slots.token_ids, bank.steering.rows()),
    "tokmem": FrozenPrefix,
}


class Trainer:
    """A contender with its optimizer; all use the same AdamW."""

    def __init__(self, contender: Contender, lr: float) -> None:
        self.contender = contender
        self.optimizer = build_adamw([Group([contender.rows])], lr, 0.0)

    def step(self, examples: Sequence[Encoded]) -> float:
        """Runs forward, backward, AdamW; returns the loss before the step and keeps the rows' gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.contender.loss(examples)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
