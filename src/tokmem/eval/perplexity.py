"""How well a model predicts supervised tokens, from sums that add up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokmem.errors import DataError


@dataclass(frozen=True)
class TokenTally:
    """Sums over supervised tokens; the tallies of batches add up to the tally of a corpus.

    Attributes:
        nll: summed negative log-likelihood, in nats (Eq. 3 before its mean).
        correct: number of tokens that were the model's first choice.
        tokens: number of tokens.
    """

    nll: float = 0.0
    correct: int = 0
    tokens: int = 0

    def __add__(self, other: TokenTally) -> TokenTally:
        return TokenTally(self.nll + other.nll, self.correct + other.correct, self.tokens + other.tokens)

    @property
    def mean_nll(self) -> float:
        """Negative log-likelihood of a token, in nats."""
        return self.nll / self._count()

    @property
    def perplexity(self) -> float:
        """exp(nll / tokens); infinite if it exceeds the range of a float."""
        try:
            return math.exp(self.mean_nll)
        except OverflowError:
            return math.inf

    @property
    def accuracy(self) -> float:
        """Tokens that were the model's first choice, in percent."""
        return 100.0 * self.correct / self._count()

    def _count(self) -> int:
        """The number of tokens; refuses a tally that means nothing."""
        if self.tokens <= 0 or not 0 <= self.correct <= self.tokens or math.isnan(self.nll):
            raise DataError(f"{self}", "at least one token, at most as many right ones, and a finite loss")
        return self.tokens
