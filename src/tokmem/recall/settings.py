"""How to recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokmem.config import Config, check_least
from tokmem.errors import ConfigError

Mode = Literal["atomic", "chain"]


@dataclass(frozen=True)
class RecallSettings(Config):
    """How to recall.

    Attributes:
        mode: ``atomic`` allows one memory token, at the start; ``chain`` any number.
        reject: whether a query may be answered without a memory token, where an ordinary one beats them all.
        max_new_tokens: most tokens to write, memory tokens included.
        batch_size: prompts that are decoded together.
        top_k: routing candidates to keep.
        temperature: 0 is greedy.
        top_p: nucleus of sampling.
        seed: of sampling; a prompt's draws hang on it and on the prompt's place among the prompts alone.
        constrained: whether, in a chain, the response of a procedure that has a JSON schema must be JSON of
            that schema before anything may follow it; ``atomic`` stays free (needs the extra `constrained`).
        continuous: whether a finished row gives its place to a waiting prompt, and prompts are read without
            padding; off, or where the backbone does not allow it, padded batches run one after the other.
        shared_prefixes: whether what prompts begin with alike is read once; only if `continuous`.
    """

    mode: Mode = "atomic"
    reject: bool = False
    max_new_tokens: int = 256
    batch_size: int = 32
    top_k: int = 5
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    constrained: bool = False
    continuous: bool = True
    shared_prefixes: bool = True

    def __post_init__(self) -> None:
        check_least(vars(self), {"max_new_tokens": 1, "batch_size": 1, "top_k": 1, "temperature": 0})
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p {self.top_p}", "above 0, and at most 1")

    @property
    def guided(self) -> bool:
        """Whether grammars rule what is written."""
        return self.constrained and self.mode == "chain"
