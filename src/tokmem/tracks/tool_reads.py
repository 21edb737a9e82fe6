"""Which settings of the compositional track the methods of an experiment read."""

from __future__ import annotations

from collections.abc import Iterable

from tokmem.errors import ConfigError
from tokmem.tracks.tool_build import adaptation_of, method_name, variants
from tokmem.tracks.tool_config import CompositionalConfig

_TOKENS = ("tokmem", "tokmem_dc")
_FINE_TUNED = ("lora", "replay")
_ADAPTED = ("adaptation auxiliary", "adaptation first_round", "adaptation always")
# By the beginning of a setting's key those that read it, the first that fits; all read any other.
_READERS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("training.lr", "training.weight_decay", "rates", "start", "width", "renorm", "negatives"), _TOKENS),
    (("recall.constrained", "adaptation.adaptation", "adaptation.use_lora"), _TOKENS),
    (("training.",), (*_TOKENS, *_FINE_TUNED)),
    (("lora.replay",), ("replay",)),
    (("lora.lr", "lora.weight_decay", "lora.rates", "lora.load_model", "lora.reinit_lora"), _FINE_TUNED),
    (("lora.use_replay_buffer",), _FINE_TUNED),
    (("lora.",), (*_FINE_TUNED, *_ADAPTED)),
    (("adaptation.auxiliary",), _ADAPTED[:1]),
    (("adaptation.",), _ADAPTED),
    (("prompting.retriev",), ("rag",)),
    (("prompting.",), ("icl", "rag")),
)


def check_read(config: CompositionalConfig, keys: Iterable[str]) -> None:
    """Refuses settings that somebody gave and that no method of the experiment reads.

    Args:
        config: with the settings.
        keys: theirs, dotted. Those of an experiment file are not meant: it may be run with fewer methods.

    Raises:
        ConfigError: there is such a setting.
    """
    chosen = variants(config)
    present = {method_name(config, variant).partition("+")[0] for variant in chosen}
    present |= {f"adaptation {adaptation_of(config, variant)}" for variant in chosen}
    for key in keys:
        readers = next((readers for starts, readers in _READERS if key.startswith(starts)), present)
        if not present.intersection(readers):
            raise ConfigError(
                f"{key} with methods {', '.join(config.methods)}, none of which reads it",
                f"one that does: {', '.join(readers)}",
                "the rate of LoRA is lora.lr"
                if key.endswith(".lora_lr") or key == "training.lr"
                else "add a method, or leave the setting out",
            )
