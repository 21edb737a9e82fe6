"""The settings of recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokmem.config import Config, check_least
from tokmem.errors import ConfigError

Mode = Literal["atomic", "chain"]


@dataclass(frozen=True)
class RecallSettings(Config):
    """How to recall procedures and write responses.

    Attributes:
        mode: ``atomic`` allows one memory token, at the start; ``chain`` any number.
        reject: whether the model may answer without a memory token, if no procedure fits (`Route.rejected`).
        max_new_tokens: most tokens to write for a prompt, memory tokens included.
        batch_size: most prompts to decode together.
        top_k: number of routing candidates to keep.
        temperature: of sampling; 0 decodes greedily.
        top_p: probability mass of nucleus sampling.
        repetition_penalty: lowers the logits of tokens that a row has written already, as in transformers; 1
            leaves them. Tokens of the prompt and memory tokens are not penalised.
        seed: of sampling. The draws of a prompt depend only on the seed and on the prompt's index.
        constrained: in ``chain`` mode, whether a procedure with a JSON schema must write a complete value of
            that schema; needs the extra `constrained`. ``atomic`` mode is never constrained.
        continuous: whether prompts are read without padding, and a waiting prompt takes the place of a
            finished one. If False, or if the backbone cannot be packed, padded batches run one by one.
        shared_prefixes: whether a beginning that prompts share is read once; needs `continuous`.
    """

    mode: Mode = "atomic"
    reject: bool = False
    max_new_tokens: int = 256
    batch_size: int = 32
    top_k: int = 5
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    constrained: bool = False
    continuous: bool = True
    shared_prefixes: bool = True

    def __post_init__(self) -> None:
        least = {"max_new_tokens": 1, "batch_size": 1, "top_k": 1, "temperature": 0, "repetition_penalty": 1}
        check_least(vars(self), least)
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p {self.top_p}", "above 0, and at most 1")

    @property
    def guided(self) -> bool:
        """Whether grammars constrain the responses."""
        return self.constrained and self.mode == "chain"
