"""Reads the states that choose memory tokens, and those that choose none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from tokmem.data.stream import Order
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.seeds import stream
from tokmem.train.bank_objective import BankObjective
from tokmem.train.loss import MAX_LOGITS
from tokmem.train.settings import FitSettings
from tokmem.train.step import frozen_prefix_states, plain_states

ELSEWHERE = 3  # positions without a call that are counted in each turn of a chain


def elsewhere(targets: Tensor, calls: Collection[int], seed: int) -> Tensor:
    """Indices of the positions without a call that are counted: the last of each turn, and random others.

    Args:
        targets: (N,) supervised tokens of all examples, one after the other.
        calls: memory tokens.
        seed: of the draws.
    """
    heads = [i for i, token in enumerate(targets.tolist()) if token in calls]
    draws, chosen = stream(seed, "elsewhere"), list[int]()
    for start, end in zip(heads, [*heads[1:], len(targets)], strict=True):
        inside = range(start + 1, end)
        most = min(ELSEWHERE - 1, max(0, len(inside) - 1))
        chosen += [*sorted(draws.sample(inside[:-1], most)), *inside[-1:]]
    return torch.tensor(chosen, dtype=torch.long, device=targets.device)


@torch.no_grad()
def prompt_states(objective: BankObjective, encoded: Sequence[Encoded], order: Order) -> Tensor:
    """(N, d) states at the ends of the prompts: those that training has read, where they are still kept."""
    found: dict[int, Tensor] = {}
    for number, window in enumerate(order.windows()):
        prefixes = objective.cache.window(("train", number), [encoded[i] for i in window])
        found |= zip(window, (prefix.hidden for prefix in prefixes), strict=True)
    return torch.stack([found[i] for i in range(len(encoded))])


@torch.no_grad()
def states_of_targets(
    objective: BankObjective, encoded: Sequence[Encoded], settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """States (N, d) before all N supervised tokens, and these tokens (N,)."""
    found: list[tuple[Tensor, Tensor]] = []
    for number, window in enumerate(settings.stream(len(encoded)).windows()):
        some = [encoded[i] for i in window]
        if objective.frozen_prefix:
            prefixes = objective.cache.window(("train", number), some)
            found.append(frozen_prefix_states(objective.lm, some, prefixes))
        else:
            found.append(plain_states(objective.lm, some))
    states, targets = zip(*found, strict=True)
    return torch.cat(states), torch.cat(targets)


@torch.no_grad()
def best_ordinary(lm: MemoryLM, states: Tensor) -> Tensor:
    """(N,) the best logit of an ordinary token at each state (N, d); replaced rows do not count."""
    size = max(1, MAX_LOGITS // lm.head.model_rows)
    replaced = lm.head.replaced(lm.head.model_rows)
    return torch.cat(
        [lm.head.frozen(part).index_fill_(-1, replaced, -torch.inf).amax(-1) for part in states.split(size)]
    )
