"""A family of generated procedures: a name, several wordings of its instruction, a sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

Split = Literal["trained", "settings", "demo", "everyday"]
Sampler = Callable[[Random], tuple[str, str]]


@dataclass(frozen=True)
class Family:
    """A skill with a sampler of inputs and their one right response.

    Attributes:
        name: unique snake-case name.
        wordings: at least four paraphrases of the instruction; the first also describes the procedure.
        sample: draws one (query, response) from the given random stream and uses no other state.
        split: the training of the bundled backbone uses ``trained`` families only. ``settings`` families
            serve to choose settings, ``demo`` and ``everyday`` families to report results.
    """

    name: str
    wordings: tuple[str, ...]
    sample: Sampler
    split: Split
