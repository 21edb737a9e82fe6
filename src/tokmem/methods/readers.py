"""Which methods read which settings of an experiment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

from tokmem.errors import ConfigError
from tokmem.methods.registry import methods_of

OfTrack: TypeAlias = Sequence[tuple[tuple[str, ...], tuple[str, ...]]]
"""Key prefixes to what reads them, for settings that a track interprets; the first match wins."""


def readers(track: str, key: str, of_track: OfTrack = ()) -> tuple[str, ...]:
    """The methods of a track that read a setting, named by its dotted key; empty if all do."""
    for prefixes, names in of_track:
        if key.startswith(prefixes):
            return names
    return tuple(name for name, spec in methods_of(track).items() if spec.reads(key))


def refuse_unread(
    wanted: Mapping[str, Sequence[str]],
    present: Collection[str],
    methods: Iterable[str],
    options: Mapping[str, str] | None = None,
) -> None:
    """Refuses settings that no method of an experiment reads.

    Args:
        wanted: what reads each setting, by dotted key; empty if all methods do.
        present: what the experiment has: methods, and states that a setting may need.
        methods: as the experiment writes them.
        options: names of settings for the message, by key, if they differ from the key.

    Raises:
        ConfigError: no method reads a setting.
    """
    for key, names in wanted.items():
        if names and not set(names).intersection(present):
            rate = key.endswith(".lora_lr") or key == "training.lr"
            raise ConfigError(
                f"{(options or {}).get(key, key)} with methods {', '.join(methods)}, none of which reads it",
                f"one that does: {', '.join(names)}",
                "the rate of LoRA is lora.lr" if rate else "add a method, or leave the setting out",
            )
