"""What one family of generated procedures is: a name, several wordings of its instruction, a sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

Split = Literal["trained", "settings", "demo"]


@dataclass(frozen=True)
class Family:
    """A skill with a sampler of inputs and their one right response.

    Attributes:
        name: unique snake-case name.
        wordings: at least four paraphrases of the instruction; the first also describes the procedure.
        sample: draws one (query, response) from the random stream it is given, and from nothing else.
        split: ``trained`` families are in the bundled backbone's training; ``settings`` (to choose
            settings) and ``demo`` (to report) never are.
        weight: relative share of the family in the backbone's training.
    """

    name: str
    wordings: tuple[str, ...]
    sample: Callable[[Random], tuple[str, str]]
    split: Split = "trained"
    weight: float = 1.0
