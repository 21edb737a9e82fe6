"""The objective of steering alone: many procedures train side by side, and none changes another's steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tokmem.records import Encoded
from tokmem.train.bank_objective import BankObjective
from tokmem.train.loss import LossSum, token_losses


class SteeringObjective(BankObjective):
    """The sum over examples of the mean loss of their response tokens, with the memory token given.

    A steering row takes its gradient from the examples of its own procedure alone. The mean over each example
    keeps the lengths of other examples out of it, and AdamW moves each number by its own gradients. So with
    the order `SideBySide`, where each step takes one example of every procedure, a row takes the steps it
    would take alone. The loss that is reported is the mean over examples. Its model only reads memory tokens
    (`writes=False`), so no address trains.
    """

    def weight(self, examples: Sequence[Encoded]) -> float:
        """1, so that no row's gradient depends on the number of procedures: `score` takes the mean."""
        return 1.0

    def score(self, examples: Sequence[Encoded], hidden: Tensor, tokens: Tensor) -> LossSum:
        """Has the mean over procedures as value and the gradient of the sum."""
        lengths = torch.tensor([sum(e.supervised) for e in examples], device=hidden.device)
        shares = lengths.float().reciprocal().repeat_interleave(lengths)
        total = (token_losses(self.lm.head, hidden, tokens) * shares).sum()
        mean = total.detach() / len(self.lm.read.fresh_names)
        none = torch.zeros_like(mean)
        return LossSum(mean + (total - total.detach()), none, len(tokens), none.long())
