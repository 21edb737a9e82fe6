"""How a bank computes addresses in closed form; importing this takes no time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tokmem.errors import ConfigError

Shared = Literal["frozen", "updated"]
STAND_INS = 16  # stand-in queries that there are: see `tokmem.data.stand_ins`
MOMENTS = ("rest", "inside")  # what statistics may hold beside the states of procedures


@dataclass(frozen=True)
class ClosedForm:
    """How addresses are computed.

    Attributes:
        shared: whether what addresses have in common (covariances, common mean, sharpness, balance) is
            `frozen` after the first stage or `updated` with every procedure. If frozen, a row never changes
            again. If updated, all rows are computed again, and the order of procedures does not matter.
        ridge: share of the mean variance that is added to the covariance in every direction.
        false_accept: share of the queries that fit no procedure which may still reach one.
        stand_ins: number of stand-in queries for each procedure, where prompts hold its instruction (see
            `tokmem.data.stand_ins`).
    """

    shared: Shared = "updated"
    ridge: float = 0.1
    false_accept: float = 0.05
    stand_ins: int = 0

    def __post_init__(self) -> None:
        if self.shared not in get_args(Shared) or self.ridge <= 0 or not 0 < self.false_accept < 1:
            raise ConfigError(
                f"shared {self.shared!r}, ridge {self.ridge}, false_accept {self.false_accept}",
                f"{' or '.join(get_args(Shared))}; above 0; between 0 and 1",
            )
        if type(self.stand_ins) is not int or not 0 <= self.stand_ins <= STAND_INS:
            raise ConfigError(f"stand_ins {self.stand_ins!r}", f"a whole number from 0 to {STAND_INS}")
