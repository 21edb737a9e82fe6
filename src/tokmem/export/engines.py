"""Prepares a memory for an engine, which has no gate and may take a memory token anywhere in an answer."""

from __future__ import annotations

from copy import copy, deepcopy

from tokmem.bank.closed import close_anywhere, gate_of, reference_of
from tokmem.log import logger
from tokmem.methods.tokmem import TokMem
from tokmem.model.memory_lm import MemoryLM


def for_engines(memory: TokMem) -> TokMem:
    """A copy of a memory whose addresses are made for engines, which may take a memory token anywhere.

    The memory itself is returned if its addresses were trained, or made for chains. A bank of computed
    addresses that does not know the states inside its responses is warned of. Composition tokens are left
    out, because an engine could choose them.
    """
    made = copy(memory)
    made.bank = deepcopy(memory.bank)
    joining = [name for name in made.bank.names if name not in made.bank.routed]
    if joining:
        logger.warning("the export leaves composition tokens out: %s", ", ".join(joining))
        made.bank.remove(joining)
    if close_anywhere(made.bank):
        made.lm = MemoryLM(memory.backbone.model, made.bank)
        return made
    if gate_of(memory.bank) is not None and not reference_of(memory.bank).call.any():
        logger.warning(
            "the bank's addresses were computed from states behind a prompt alone, by an earlier version. An "
            "engine takes a memory token wherever it is the likeliest, also within a response: try queries "
            "with the engine. If it answers worse than recall, learn the procedures again"
        )
    if joining:
        made.lm = MemoryLM(memory.backbone.model, made.bank)
        return made
    return memory
