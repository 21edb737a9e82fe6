"""From an experiment's words to methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokmem.data import Corpus, PromptMode
from tokmem.data.fields import did_you_mean
from tokmem.errors import ConfigError, DataError
from tokmem.methods.base import Base
from tokmem.methods.protocol import Method
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.tracks.variants import Variant

if TYPE_CHECKING:
    from tokmem.tracks.atomic import AtomicConfig

_TOKMEM: Mapping[str, type] = {"renorm": str, "start": str, "width": int}
METHODS: Mapping[str, Mapping[str, type]] = {"base": {}, "tokmem": _TOKMEM, "tokmem_dc": _TOKMEM}


def variants(config: AtomicConfig) -> tuple[Variant, ...]:
    """What an experiment compares.

    Raises:
        ConfigError: an unknown method or setting.
    """
    return tuple(Variant.parse(text, METHODS) for text in config.methods)


def learns(variant: Variant) -> bool:
    """Whether the method trains or keeps anything."""
    return variant.method != "base"


def seeded(variant: Variant) -> bool:
    """Whether its results hang on the seed."""
    return variant.method not in ("base", "icl")


def rates_of(config: AtomicConfig, variant: Variant) -> tuple[float, ...]:
    """The learning rates to choose from."""
    return config.rates if learns(variant) else ()


def build(
    config: AtomicConfig,
    variant: Variant,
    backbone: Backbone,
    corpus: Corpus,
    prompt: PromptMode,
    seed: int,
    rate: float | None,
) -> Method:
    """A fresh method, or one that starts from the saved bank of `load_task_tokens`.

    Raises:
        ConfigError: the bank is of another coupling.
        DataError: the bank is only to be measured and lacks a procedure.
    """
    recall = replace(config.recall, mode="atomic")
    common: dict[str, Any] = {"prompt": prompt, "max_length": config.max_length, "recall": recall}
    if variant.method == "base":
        return Base(backbone, **common)
    training = replace(config.training, seed=seed, lr=config.training.lr if rate is None else rate)
    options = {"start": config.start, "width": config.width, "renorm": config.renorm, **variant.changes}
    options |= {**common, "settings": training, "seed": seed}
    coupled = variant.method == "tokmem"
    if not config.load_task_tokens:
        return TokMem(backbone, coupled=coupled, **options)
    method = TokMem.load(config.load_task_tokens, backbone, **options)
    _check_bank(config, method, variant, corpus)
    return method


def _check_bank(config: AtomicConfig, method: TokMem, variant: Variant, corpus: Corpus) -> None:
    bank, folder = method.bank, config.load_task_tokens
    if bank.coupled != (variant.method == "tokmem"):
        kind = "coupled" if bank.coupled else "decoupled"
        raise ConfigError(f"bank {folder} is {kind}", f"a bank of method {variant.method}")
    unknown = [name for name in corpus.names if name not in bank]
    if config.skip_training and unknown:
        raise DataError(
            f"procedure {unknown[0]!r} is not in bank {folder}{did_you_mean(unknown[0], bank.names)}",
            "procedures of the bank",
            "leave it out (tasks), or train it",
        )
