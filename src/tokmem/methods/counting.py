"""Adds the states of examples to the statistics of a bank that computes its addresses, each state once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tokmem.bank.bank import Bank
from tokmem.bank.statistics import Statistics
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder, PromptMode
from tokmem.errors import BankError
from tokmem.methods.call_states import best_ordinary, elsewhere
from tokmem.methods.memory_settings import Renorm
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.settings import RecallSettings
from tokmem.records import Encoded
from tokmem.seeds import stream

KEPT = 8  # states of each procedure that calibrate, where `negatives` asks for no other number


class ClosedMemory(Protocol):
    """The parts of `TokMem` that learning uses. `TokMem` imports its users, so it is not named here."""

    backbone: Backbone
    bank: Bank
    lm: MemoryLM
    chat: Chat
    prompt: PromptMode
    renorm: Renorm
    recall_settings: RecallSettings
    negatives: int
    seed: int

    @property
    def encoder(self) -> Encoder:
        """Examples to token ids, with the bank as it is now."""


def read_with(memory: ClosedMemory) -> dict[str, str]:
    """Names what a memory reads states with. States that were read with something else are never added."""
    return {
        "backbone": memory.backbone.fingerprint,
        "chat format": memory.chat.fingerprint,
        "prompt mode": memory.prompt,
    }


def statistics_of(memory: ClosedMemory) -> Statistics:
    """Returns the bank's statistics.

    Raises:
        BankError: the bank has none, or its states were read with something else.
    """
    found = memory.bank.statistics
    if found is None:
        raise BankError("a bank without statistics", "one with closed-form addresses", "start an empty bank")
    found.check_alike(Statistics(found.dim, found.policy, read_with(memory)))
    return found


def count_prompts(memory: ClosedMemory, name: str, states: Tensor, examples: Sequence[Encoded]) -> None:
    """Adds the states of a procedure's examples; prompts of an earlier training do not count again."""
    new = uncounted_prompts(memory, name, examples)
    if new:
        _add_states(memory, name, states[new])
        statistics_of(memory).mark_counted(name, map(_mark, examples))


def count_stand_ins(memory: ClosedMemory, name: str, states: Tensor) -> None:
    """Adds the (n, d) states of stand-in queries of a procedure whose examples are counted.

    None of them calibrates: none is kept, and each takes the mean level of the examples.

    Raises:
        BankError: the bank's statistics are of states that were read in another way.
    """
    statistics = statistics_of(memory)
    level = statistics.levels[name] / statistics.counts[name]
    statistics.add(name, states, torch.full((len(states),), level, dtype=torch.float64))


def uncounted_prompts(memory: ClosedMemory, name: str, examples: Sequence[Encoded]) -> list[int]:
    """The places of examples whose prompts no earlier training counted."""
    return statistics_of(memory).uncounted(name, [*map(_mark, examples)])


def _mark(example: Encoded) -> int:
    return hash(example.ids[: example.prefix])


def _add_states(memory: ClosedMemory, name: str, states: Tensor) -> None:
    """Adds states of a procedure to the sums, and keeps some of them and of those that were kept before."""
    statistics_of(memory).add(name, states, best_ordinary(memory.lm, states))
    earlier = memory.bank.states.get(name, states[:0]).to(states)
    pool, draws = torch.cat([earlier, states]), stream(memory.seed, "kept", name)
    kept = draws.sample(range(len(pool)), min(memory.negatives or KEPT, len(pool)))
    memory.bank.keep_states(name, pool[sorted(kept)])


def uncounted_chains(memory: ClosedMemory, names: Sequence[str], encoded: Sequence[Encoded]) -> list[Encoded]:
    """The chains of which no earlier training counted the states, for all procedures of the stage together.

    The states of a later training differ a little, because they read the steering of earlier calls.
    """
    statistics, places = statistics_of(memory), set[int]()
    for name in names:
        head = memory.bank.memory[name][0]
        own = [place for place, example in enumerate(encoded) if head in example.ids]
        found = statistics.uncounted(name, [hash(encoded[place].ids) for place in own])
        places.update(own[place] for place in found)
    return [encoded[place] for place in sorted(places)]


def count_chains(
    memory: ClosedMemory, names: Sequence[str], new: Sequence[Encoded], states: Tensor, targets: Tensor
) -> None:
    """Adds the states before the calls of chains, and of positions without a call as those of no procedure.

    Args:
        memory: holds the procedures.
        names: the procedures whose states are added.
        new: the chains.
        states: (N, d) states before all N supervised tokens of these chains.
        targets: (N,) these tokens.
    """
    statistics, memories = statistics_of(memory), memory.bank.memory
    for name in names:
        own = states[targets == memories[name][0]]
        if len(own):
            _add_states(memory, name, own)
    statistics.add_rest(states[elsewhere(targets, {ids[0] for ids in memories.values()}, memory.seed)])
    for name in names:
        statistics.mark_counted(name, [hash(example.ids) for example in new])
