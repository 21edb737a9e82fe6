"""From an experiment's words to methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokmem.bank.init import Start
from tokmem.bank.store import load_bank
from tokmem.data import Corpus, PromptMode
from tokmem.data.fields import did_you_mean
from tokmem.errors import ConfigError, DataError
from tokmem.log import logger
from tokmem.methods.base import Base
from tokmem.methods.icl import Icl
from tokmem.methods.lora import LoRA
from tokmem.methods.protocol import Method
from tokmem.methods.rag import Rag
from tokmem.methods.replay import Replay
from tokmem.methods.retrieval.text_encoder import SentenceEncoder
from tokmem.methods.tokmem import Renorm, TokMem
from tokmem.model.backbone import Backbone
from tokmem.tracks.variants import Variant

if TYPE_CHECKING:
    from tokmem.tracks.atomic import AtomicConfig


@dataclass(frozen=True)
class Order:
    """What a method is to be made for."""

    config: AtomicConfig
    backbone: Backbone
    corpus: Corpus
    prompt: PromptMode
    seed: int
    rate: float | None

    @property
    def common(self) -> dict[str, Any]:
        """What every method takes."""
        recall = replace(self.config.recall, mode="atomic")
        return {"prompt": self.prompt, "max_length": self.config.max_length, "recall": recall}


def _base(order: Order, changes: Mapping[str, Any]) -> Method:
    return Base(order.backbone, **order.common)


def _icl(order: Order, changes: Mapping[str, Any]) -> Method:
    options = {"few_shot": order.config.demonstrations.few_shot, **changes}
    return Icl(order.backbone, **options, **order.common, seed=order.seed)


def _rag(order: Order, changes: Mapping[str, Any], instructed: bool = False) -> Method:
    given = order.config.demonstrations
    options = {"retrieval_k": given.retrieval_k, **changes}
    return Rag(
        order.backbone,
        retriever=_retriever(given.retriever, str(order.backbone.device)),
        include_instruction_in_demos=instructed,
        **options,
        **order.common,
    )


@lru_cache(maxsize=1)
def _retriever(name: str, device: str) -> SentenceEncoder:
    return SentenceEncoder(name, device=device)


def _rag_instructed(order: Order, changes: Mapping[str, Any]) -> Method:
    return _rag(order, changes, instructed=True)


def _lora_options(order: Order, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Of both fine-tuning methods: the experiment's epochs and batches, their own rate and decay."""
    given = asdict(order.config.lora)
    lr, decay = given.pop("lr"), given.pop("weight_decay")
    del given["rates"]
    given["load_model"] = given["load_model"] or None
    rate = lr if order.rate is None else order.rate
    training = replace(order.config.training, seed=order.seed, lr=rate, weight_decay=decay)
    return {**given, **changes, **order.common, "settings": training, "seed": order.seed}


def _lora(order: Order, changes: Mapping[str, Any]) -> Method:
    return LoRA(order.backbone, **_lora_options(order, changes))


def _replay(order: Order, changes: Mapping[str, Any]) -> Method:
    return Replay(order.backbone, **{**asdict(order.config.replay), **_lora_options(order, changes)})


def _tokmem(order: Order, changes: Mapping[str, Any], coupled: bool = True) -> Method:
    """Untrained, or from the saved bank of `load_task_tokens`."""
    config = order.config
    lr = config.training.lr if order.rate is None else order.rate
    own = ("start", "width", "renorm", "negatives")
    options: dict[str, Any] = {**{name: getattr(config, name) for name in own}, **changes}
    options |= {**order.common, "settings": replace(config.training, seed=order.seed, lr=lr)}
    options["seed"] = order.seed
    if not config.load_task_tokens:
        return TokMem(order.backbone, coupled=coupled, **options)
    method = TokMem.load(config.load_task_tokens, order.backbone, **options)
    _check_bank(order, method, coupled)
    return method


def _tokmem_dc(order: Order, changes: Mapping[str, Any]) -> Method:
    return _tokmem(order, changes, coupled=False)


def _check_bank(order: Order, method: TokMem, coupled: bool) -> None:
    bank, folder = method.bank, order.config.load_task_tokens
    if bank.coupled != coupled:
        kind = "coupled" if bank.coupled else "decoupled"
        raise ConfigError(
            f"bank {folder} is {kind}", f"a bank of method {'tokmem' if coupled else 'tokmem_dc'}"
        )
    trained = load_bank(Path(folder))[1].training.get("prompt", order.prompt)
    if trained != order.prompt and not order.config.skip_training:
        raise ConfigError(
            f"prompt {order.prompt} and bank {folder}, which was trained with {trained}",
            "one prompt mode for all procedures of a bank",
            f"set prompts to [{trained}]",
        )
    if trained != order.prompt:
        logger.warning(
            "bank %s was trained with prompt %s and is measured with %s", folder, trained, order.prompt
        )
    unknown = [name for name in order.corpus.names if name not in bank]
    if order.config.skip_training and unknown:
        raise DataError(
            f"procedure {unknown[0]!r} is not in bank {folder}{did_you_mean(unknown[0], bank.names)}",
            "procedures of the bank",
            "leave it out (choose others by --task or data.tasks), or train it",
        )


_LORA: Mapping[str, Any] = {"lora_r": int, "lora_alpha": int, "lora_dropout": float}
_REPLAY: Mapping[str, Any] = {"continual_replay_ratio": float, "buffer_size": int}
_TOKMEM: Mapping[str, Any] = {"renorm": Renorm, "negatives": int, "start": Start, "width": int}

# Of each method: how it is made, and the settings that a variant may change.
METHODS: Mapping[str, tuple[Callable[[Order, Mapping[str, Any]], Method], Mapping[str, Any]]] = {
    "base": (_base, {}),
    "icl": (_icl, {"few_shot": int}),
    "rag": (_rag, {"retrieval_k": int}),
    "rag_instructed": (_rag_instructed, {"retrieval_k": int}),
    "lora": (_lora, _LORA),
    "replay": (_replay, {**_LORA, **_REPLAY}),
    "tokmem": (_tokmem, _TOKMEM),
    "tokmem_dc": (_tokmem_dc, _TOKMEM),
}


def variants(config: AtomicConfig) -> tuple[Variant, ...]:
    """What an experiment compares.

    Raises:
        ConfigError: an unknown method or setting.
    """
    settings = {name: allowed for name, (_, allowed) in METHODS.items()}
    return tuple(Variant.parse(text, settings) for text in config.methods)


def learns(variant: Variant) -> bool:
    """Whether `learn` does anything."""
    return variant.method != "base"


def trains(variant: Variant) -> bool:
    """Whether it has a learning rate, and results that hang on the seed."""
    return variant.method in ("lora", "replay", "tokmem", "tokmem_dc")


def rates_of(config: AtomicConfig, variant: Variant) -> tuple[float, ...]:
    """The learning rates to choose from; none where the rate is given."""
    if not trains(variant):
        return ()
    return config.lora.rates if variant.method in ("lora", "replay") else config.rates


def build(variant: Variant, order: Order) -> Method:
    """A fresh method.

    Raises:
        ConfigError: a setting is out of range, or the saved bank is of another coupling.
        DataError: the saved bank is only to be measured and lacks a procedure.
    """
    make, _ = METHODS[variant.method]
    return make(order, variant.changes)
