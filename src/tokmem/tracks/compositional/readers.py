"""Which methods read which settings of the compositional track."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from tokmem.methods.readers import readers, refuse_unread
from tokmem.model.lora import LoraSettings
from tokmem.tracks.compositional.config import CompositionalConfig

_ADAPTED = ("adaptation auxiliary", "adaptation first_round", "adaptation always")
_TOKENS = ("tokmem", "tokmem_dc")
# Key prefix to the methods that read it, for settings that the track interprets; the first match wins.
_OF_TRACK = (
    (("renorm_active_tools", "recall.constrained", "adaptation.adaptation", "adaptation.use_lora"), _TOKENS),
    (("adaptation.auxiliary",), _ADAPTED[:1]),
    (("adaptation.",), _ADAPTED),
    (("lora.use_replay_buffer",), ("lora", "replay")),
    (("lora.replay",), ("replay",)),
    (("prompting.retriev",), ("rag",)),
)
# What every adaptation reads, too, whichever method stands on it.
_OF_ADAPTATION = ("start", "call_style", *(f"lora.{one.name}" for one in fields(LoraSettings)))


def check_read(config: CompositionalConfig, keys: Iterable[str]) -> None:
    """Refuses options that no method of the experiment reads.

    Args:
        config: with the settings.
        keys: the dotted keys that options set. Keys of an experiment file are exempt: it may be run with
            fewer methods.

    Raises:
        ConfigError: no method reads a setting.
    """
    present = {variant.method for variant in config.variants}
    present |= {f"adaptation {variant.adaptation}" for variant in config.variants}
    refuse_unread({key: _readers(key) for key in keys}, present, config.methods)


def _readers(key: str) -> tuple[str, ...]:
    """The methods and adaptations that read a setting; empty if all do."""
    methods = readers("compositional", key, _OF_TRACK)
    return (*methods, *_ADAPTED) if key in _OF_ADAPTATION else methods
