"""Reads the states that choose memory tokens, and those that choose none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from tokmem.bank.moments import Moments
from tokmem.data.collate import on_device
from tokmem.data.stream import Order
from tokmem.log import progress
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import last_states
from tokmem.records import Encoded
from tokmem.seeds import stream
from tokmem.train.bank_objective import BankObjective
from tokmem.train.loss import MAX_LOGITS
from tokmem.train.parallel import Processes, Shares, join_processes
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
    """(N, d) states at the ends of the prompts: those that training has read, where they are still kept.

    Each process reads the prompts of its own examples.
    """
    shares, found = Shares(join_processes(), order), dict[int, Tensor]()
    with progress(len(encoded), "reading states", unit="query", leave=False) as bar:
        for number, window in enumerate(order.windows()):
            own = shares.own(window)
            some = [encoded[i] for i in own]
            if some and is_recurrent(objective.lm.model):
                states = [*last_states(objective.lm, [e.ids[: e.prefix] for e in some])]
            else:
                states = [prefix.hidden for prefix in objective.cache.window(("train", number), some)]
            found |= {i: state[None] for i, state in zip(own, states, strict=True)}
            bar.update(len(window))
    return _gathered(found, dict.fromkeys(range(len(encoded)), 1), objective.lm, shares.processes)


@torch.no_grad()
def states_of_targets(
    objective: BankObjective, encoded: Sequence[Encoded], settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """States (N, d) before all N supervised tokens, and these tokens (N,), by window and example.

    Each process reads its own examples.
    """
    order = settings.stream(len(encoded))
    shares = Shares(join_processes(), order)
    tokens = [[t for t, on in zip(e.ids, e.supervised, strict=True) if on] for e in encoded]
    found: dict[int, Tensor] = {}
    with progress(len(encoded), "reading states", unit="example", leave=False) as bar:
        for number, window in enumerate(order.windows()):
            own = shares.own(window)
            some = [encoded[i] for i in own]
            bar.update(len(window))
            if some:
                states = _before_targets(objective, number, some)
                found |= zip(own, states.split([len(tokens[i]) for i in own]), strict=True)
    examples = [i for window in order.windows() for i in window]
    targets = on_device([t for i in examples for t in tokens[i]], objective.lm.device)
    counts = {i: len(tokens[i]) for i in examples}
    return _gathered(found, counts, objective.lm, shares.processes), targets


@torch.no_grad()
def response_moments(
    objective: BankObjective, encoded: Sequence[Encoded], places: Collection[int], order: Order
) -> Moments:
    """The moments of the states before response tokens, at the end of each response too.

    Args:
        objective: has read the examples.
        encoded: the examples, with their memory tokens given.
        places: the examples that count.
        order: of the training. Each process reads its own examples.
    """
    shares, found = Shares(join_processes(), order), Moments(objective.lm.bank.dim)
    for number, window in enumerate(order.windows()):
        own = shares.own(window)
        if any(i in places for i in own):
            some = [encoded[i] for i in own]
            parts = _before_targets(objective, number, some).split([sum(e.supervised) for e in some])
            kept = [part for i, part in zip(own, parts, strict=True) if i in places]
            found = found.plus(Moments.of(torch.cat(kept)))
    return _summed(found, objective.lm, shares.processes)


def _before_targets(objective: BankObjective, number: int, window: Sequence[Encoded]) -> Tensor:
    """States (N, d) before the supervised tokens of a window of examples, whose prompts are read already."""
    if not objective.frozen_prefix:
        return plain_states(objective.lm, window)[0]
    prefixes = objective.cache.window(("train", number), window)
    return frozen_prefix_states(objective.lm, window, prefixes)[0]


def _summed(own: Moments, lm: MemoryLM, processes: Processes) -> Moments:
    """The moments of all processes together."""
    if processes.count == 1:
        return own
    square = own.scatter + torch.outer(own.total, own.total) / max(own.count, 1)
    sums = torch.cat([own.total.new_tensor([own.count]), own.total, square.flatten()])
    sums = processes.add(sums.to(lm.device)).cpu()
    both, dim = Moments(len(own.total)), len(own.total)
    both.count, both.total = int(sums[0]), sums[1 : 1 + dim]
    both.scatter = sums[1 + dim :].view(dim, dim) - torch.outer(both.total, both.total) / max(both.count, 1)
    return both


def _gathered(
    found: Mapping[int, Tensor], counts: Mapping[int, int], lm: MemoryLM, processes: Processes
) -> Tensor:
    """The states (N, d) of examples, one example after the other.

    Args:
        found: states (n, d) of each example of this process.
        counts: n of each example, in the order of the result.
        lm: the model that read them.
        processes: each has its share of the examples.
    """
    missing = torch.zeros(0, lm.bank.dim, dtype=lm.model.dtype, device=lm.device)
    parts = [found[i] if i in found else missing.new_zeros(n, lm.bank.dim) for i, n in counts.items()]
    return processes.add(torch.cat(parts))  # all but one add zeros, so no bit changes


@torch.no_grad()
def best_ordinary(lm: MemoryLM, states: Tensor) -> Tensor:
    """(N,) the best logit of an ordinary token at each state (N, d); replaced rows do not count."""
    size = max(1, MAX_LOGITS // lm.head.model_rows)
    replaced = lm.head.replaced(lm.head.model_rows)
    return torch.cat(
        [lm.head.frozen(part).index_fill_(-1, replaced, -torch.inf).amax(-1) for part in states.split(size)]
    )
