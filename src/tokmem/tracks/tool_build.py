"""From the words of a compositional experiment to methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tokmem.bank.init import Start
from tokmem.config import check_least
from tokmem.errors import ConfigError
from tokmem.methods.adapted import Adapted
from tokmem.methods.lora import LoRA
from tokmem.methods.protocol import Method
from tokmem.methods.replay import Replay
from tokmem.methods.retrieval.text_encoder import SentenceEncoder
from tokmem.methods.tokmem import Renorm, TokMem
from tokmem.methods.tokmem_lora import TokMemLora, check_negatives
from tokmem.methods.tool_prompt import ToolPrompt, prompt_room
from tokmem.model.backbone import Backbone
from tokmem.model.lora import Adapter, LoraSettings
from tokmem.recall.constrained import Guides
from tokmem.recall.settings import RecallSettings
from tokmem.records import Procedure
from tokmem.tracks.adaptation import Adaptation
from tokmem.tracks.variants import Variant
from tokmem.train.settings import FitSettings

if TYPE_CHECKING:
    from tokmem.tracks.tool_config import CompositionalConfig

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """What a method is to be made for: an experiment, the backbone that its variant stands on, a seed."""

    config: CompositionalConfig
    backbone: Backbone
    adaptation: Adaptation
    seed: int
    rate: float | None

    @property
    def common(self) -> dict[str, Any]:
        """What every method takes."""
        return {"max_length": self.config.max_length, "recall": self.recall(), "seed": self.seed}

    def recall(self, constrained: bool = False) -> RecallSettings:
        """How to generate; only memory tokens say which tool's schema holds."""
        return replace(self.config.recall, mode="chain", constrained=constrained)

    def training(self, lr: float, **others: Any) -> FitSettings:
        """How to train, at the rate under trial where there is one."""
        shuffle = self.config.training.shuffle and not self.config.rounds.curriculum_learning
        chosen = lr if self.rate is None else self.rate
        return replace(self.config.training, seed=self.seed, lr=chosen, shuffle=shuffle, **others)


def lora_shape(config: CompositionalConfig, changes: Changes) -> LoraSettings:
    """The adapter's shape."""
    given = {**asdict(config.lora), **changes}
    return LoraSettings(**{field.name: given[field.name] for field in fields(LoraSettings)})


def _icl(order: Order, changes: Changes) -> Method:
    given = order.config.prompting
    options = {
        "few_shot": given.few_shot,
        "retrieval_k": given.retrieval_k,
        "use_rag": given.use_rag,
        **changes,
    }
    retrieves = options.pop("use_rag")
    retriever = _retriever(given.retriever, str(order.backbone.device)) if retrieves else None
    return ToolPrompt(order.backbone, retriever=retriever, **options, **order.common)


def _rag(order: Order, changes: Changes) -> Method:
    return _icl(order, {"use_rag": True, **changes})


@lru_cache(maxsize=1)
def _retriever(name: str, device: str) -> SentenceEncoder:
    return SentenceEncoder(name, device=device)


def _lora(order: Order, changes: Changes) -> Method:
    given = order.config.lora
    options = {"reinit_lora": given.reinit_lora, **asdict(lora_shape(order.config, changes)), **order.common}
    options |= {"prompt": "query", "settings": order.training(given.lr, weight_decay=given.weight_decay)}
    options["load_model"] = given.load_model or None
    options |= {name: value for name, value in changes.items() if name == "reinit_lora"}
    replay = {name: changes.get(name, getattr(given, name)) for name in _REPLAY}
    if not replay["use_replay_buffer"]:
        return LoRA(order.backbone, **options)
    ratio, size = replay["replay_ratio"], replay["replay_buffer_size"]
    return Replay(order.backbone, continual_replay_ratio=ratio, buffer_size=size, **options)


def _replay(order: Order, changes: Changes) -> Method:
    return _lora(order, {"use_replay_buffer": True, **changes})


def _tokmem(order: Order, changes: Changes, coupled: bool = True) -> Method:
    config = order.config
    options = {name: changes.get(name, getattr(config, name)) for name in ("start", "width", "negatives")}
    options |= {"renorm": changes.get("renorm", config.chosen_renorm), "coupled": coupled, **order.common}
    options |= {"prompt": "query", "settings": order.training(config.training.lr)}
    options["recall"] = order.recall(changes.get("constrained", config.recall.constrained))
    if order.adaptation in ("none", "auxiliary"):  # merged already
        return TokMem(order.backbone, **options)
    return TokMemLora(
        order.backbone,
        freeze_after_first=order.adaptation == "first_round",
        lora=lora_shape(config, {}),
        lora_lr=config.adaptation.lora_lr,
        lora_weight_decay=config.adaptation.lora_weight_decay,
        **options,
    )


def _tokmem_dc(order: Order, changes: Changes) -> Method:
    return _tokmem(order, changes, coupled=False)


_PROMPT: Mapping[str, Any] = {"use_rag": bool, "retrieval_k": int, "few_shot": int}
_REPLAY: Mapping[str, Any] = {"use_replay_buffer": bool, "replay_buffer_size": int, "replay_ratio": float}
_LORA: Mapping[str, Any] = {
    **{"lora_r": int, "lora_alpha": int, "lora_dropout": float, "reinit_lora": bool},
    **_REPLAY,
}
_TOKMEM: Mapping[str, Any] = {
    **{"renorm": Renorm, "negatives": int, "start": Start, "width": int},
    **{"adaptation": Adaptation, "constrained": bool},
}

# Of each method: how it is made, and the settings that a variant may change.
METHODS: Mapping[str, tuple[Callable[[Order, Changes], Method], Mapping[str, Any]]] = {
    "icl": (_icl, _PROMPT),
    "rag": (_rag, _PROMPT),
    "lora": (_lora, _LORA),
    "replay": (_replay, _LORA),
    "tokmem": (_tokmem, _TOKMEM),
    "tokmem_dc": (_tokmem_dc, _TOKMEM),
}


def variants(config: CompositionalConfig) -> tuple[Variant, ...]:
    """What an experiment compares.

    Raises:
        ConfigError: an unknown method or setting.
    """
    settings = {name: allowed for name, (_, allowed) in METHODS.items()}
    return tuple(Variant.parse(text, settings) for text in config.methods)


def check_settings(config: CompositionalConfig, variant: Variant) -> None:
    """Refuses settings of a variant with which it cannot be built or trained, before anything is.

    Raises:
        ConfigError: one is out of range, or two do not go together.
    """
    if variant.method in ("icl", "rag"):
        replace(config.prompting, **variant.changes)
        prompt_room(config.max_length, config.recall)
    elif variant.method in ("lora", "replay"):
        replace(config.lora, **variant.changes)
    else:
        chosen = {"width": config.width, "negatives": config.negatives, **variant.changes}
        check_least(chosen, {"width": 1, "negatives": 0})
        adaptation = adaptation_of(config, variant)
        if adaptation in ("first_round", "always"):
            check_negatives(chosen["negatives"], adaptation == "first_round")
            if min(config.rates or (config.training.lr,)) == 0:
                raise ConfigError(
                    f"a rate of 0 and adaptation {adaptation}",
                    "above 0: the adapter's rate is a multiple of it",
                    "change training.lr or rates",
                )


def check_means(
    config: CompositionalConfig, variant: Variant, backbone: Backbone, tools: Sequence[Procedure]
) -> None:
    """Finds out before any training whether a variant can be built, and will be able to answer.

    Raises:
        ConfigError: the library or the model is missing that retrieves, or that constrains arguments; or the
            backbone lacks what an adapter is to be put on.
        RecallError: a tool's schema cannot be made a grammar.
    """
    if variant.method in ("lora", "replay"):
        Adapter(backbone, lora_shape(config, variant.changes))
    elif adaptation_of(config, variant) != "none":
        Adapter(backbone, lora_shape(config, {}))
    if method_name(config, variant).partition("+")[0] == "rag":
        _retriever(config.prompting.retriever, str(backbone.device))
    elif variant.method.startswith("tokmem") and variant.changes.get(
        "constrained", config.recall.constrained
    ):
        Guides(tools, backbone.tokenizer, backbone.model.config.get_text_config().vocab_size, ())


def adaptation_of(config: CompositionalConfig, variant: Variant) -> Adaptation:
    """How a variant's backbone is adapted; a rival's never is."""
    if not variant.method.startswith("tokmem"):
        return "none"
    chosen: Adaptation = variant.changes.get("adaptation", config.adaptation.chosen)
    return chosen


def method_name(config: CompositionalConfig, variant: Variant) -> str:
    """What rows call a variant: by the method that its switches make it, and without its adaptation.

    Rows say the adaptation by itself.
    """
    method, *changes = variant.name.split("+")
    switches = {
        "lora": ("use_replay_buffer", config.lora.use_replay_buffer, ("lora", "replay")),
        "replay": ("use_replay_buffer", True, ("lora", "replay")),
        "icl": ("use_rag", config.prompting.use_rag, ("icl", "rag")),
        "rag": ("use_rag", True, ("icl", "rag")),
    }
    if method in switches:
        switch, default, names = switches[method]
        method = names[variant.changes.get(switch, default)]
    told = ("adaptation=", "use_replay_buffer=", "use_rag=")
    return "+".join([method, *(part for part in changes if not part.startswith(told))])


def training_name(variant: Variant) -> str:
    """A variant's name without what changes its answers alone: variants that share it train but once."""
    return "+".join(part for part in variant.name.split("+") if not part.startswith("constrained="))


def trains(variant: Variant) -> bool:
    """Whether it has a learning rate."""
    return variant.method not in ("icl", "rag")


def rates_of(config: CompositionalConfig, variant: Variant) -> tuple[float, ...]:
    """The learning rates to choose from; none where the rate is given."""
    if not trains(variant):
        return ()
    return config.lora.rates if variant.method in ("lora", "replay") else config.rates


def build(variant: Variant, order: Order) -> Method:
    """A fresh method.

    Raises:
        ConfigError: a setting is out of range.
    """
    make, _ = METHODS[variant.method]
    return make(order, {name: value for name, value in variant.changes.items() if name != "adaptation"})


def set_epochs(method: Method, epochs: int) -> None:
    """Sets the passes over the next round's examples, where the method trains."""
    if isinstance(method, TokMem | Adapted):
        method.settings = replace(method.settings, epochs=epochs)
