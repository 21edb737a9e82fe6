"""Which methods there are. A new method is its file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from tokmem.methods.protocol import MethodSpec

# Each module lists its methods in SPECS. Error messages name the methods in this order.
MODULES = [
    "tokmem.methods.base",
    "tokmem.methods.icl",
    "tokmem.methods.rag",
    "tokmem.methods.tool_prompt",
    "tokmem.methods.lora",
    "tokmem.methods.replay",
    "tokmem.methods.tokmem",
    "tokmem.methods.prefix_tuning",
    "tokmem.methods.peft_prompts",
]


def methods_of(track: str) -> Mapping[str, MethodSpec]:
    """The methods that a track offers, by name."""
    specs = (spec for module in MODULES for spec in import_module(module).SPECS)
    return {spec.name: spec for spec in specs if track in spec.variable}
