"""The divergence from a teacher, for modules of PEFT in the place of memory tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tokmem.methods.lora import LoRA
from tokmem.methods.peft_prompts import PeftObjective, PeftPrompt
from tokmem.records import Encoded
from tokmem.train.adapter import AdapterObjective
from tokmem.train.distil import divergences
from tokmem.train.loss import LossSum
from tokmem.train.step import whole_states
from tokmem.train.targets import Targets


class PromptDistillation(PeftObjective):
    """The divergence of a model with PEFT's prompt from a teacher."""

    def __init__(self, method: PeftPrompt, targets: Targets) -> None:
        super().__init__(method)
        self.targets = targets

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The sum over responses."""
        logits, _ = self.method.logits(examples)
        ids, logs, rest = self.targets.of(examples, logits.device)
        own = logits.log_softmax(1)
        others = own.scatter(1, ids, -torch.inf).logsumexp(1)
        own, taught = torch.cat([own.gather(1, ids), others[:, None]], 1), torch.cat([logs, rest[:, None]], 1)
        return _sum(nn.functional.kl_div(own, taught, reduction="sum", log_target=True), len(ids))


class AdapterDistillation(AdapterObjective):
    """The divergence of an adapted model from a teacher."""

    def __init__(self, method: LoRA, targets: Targets) -> None:
        super().__init__(method.lm, method.adapter, seed=method.seed)
        self.targets = targets

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The sum over responses."""
        hidden, _ = whole_states(self.lm, examples)
        top = self.targets.of(examples, hidden.device)
        return _sum(divergences(self.lm.head, hidden, top).sum(), len(hidden))


def _sum(total: torch.Tensor, count: int) -> LossSum:
    none = torch.zeros((), device=total.device)
    return LossSum(total, none, count, none.long())
