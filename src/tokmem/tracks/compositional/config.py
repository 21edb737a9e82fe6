"""The settings of the compositional track, and what its variants make of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tokmem.bank.init import Start
from tokmem.config import Config, changed, check_filled, check_least, check_once, same_as, setting
from tokmem.data.calls.ranges import ToolRange, require_disjoint
from tokmem.data.calls.text import CallStyle
from tokmem.data.replay import check_ratio
from tokmem.errors import ConfigError
from tokmem.methods.adaptation import Adaptation, AdaptationSettings
from tokmem.methods.adapted import FineTuningSettings
from tokmem.methods.memory_settings import Renorm, TokMemSettings
from tokmem.methods.protocol import MethodSpec, Setup
from tokmem.methods.registry import methods_of
from tokmem.methods.tokmem_lora import SPEC as BESIDE_ADAPTER
from tokmem.methods.tool_prompt import ToolPromptSettings, prompt_room
from tokmem.model.backbone import Backbone
from tokmem.model.settings import BackboneConfig
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.checks import check_order_seed
from tokmem.tracks.compositional.data import ToolDataConfig
from tokmem.tracks.compositional.rounds import RoundsConfig, check_per_round
from tokmem.tracks.rates import check_search, rates_of
from tokmem.tracks.variants import MethodVariant, Types, parse_variants
from tokmem.train.settings import FitSettings

# Settings of the track itself that a variant may change, by method.
_RIVAL: Types = {"adaptation": Literal["none", "auxiliary"]}  # other kinds train beside tokens
_LORA: Types = {"use_replay_buffer": bool, "replay_buffer_size": int, "replay_ratio": float, **_RIVAL}
_TOKENS: Types = {"adaptation": Adaptation, "constrained": bool}
_VARIABLE = {
    **dict.fromkeys(("icl", "rag"), _RIVAL),
    **dict.fromkeys(("lora", "replay"), _LORA),
    **dict.fromkeys(("tokmem", "tokmem_dc"), _TOKENS),
}
# Settings that turn one method into another, by the two methods: off, on.
_SWITCHES = {"use_replay_buffer": ("lora", "replay"), "use_rag": ("icl", "rag")}


@dataclass(frozen=True)
class ToolLoraConfig(FineTuningSettings):
    """LoRA over rounds; its shape is also that of the adapter beside memory tokens."""

    use_replay_buffer: bool = setting(False, "method lora replays queries of earlier rounds: method replay")
    replay_buffer_size: int = setting(1000, "queries kept of all earlier rounds")
    replay_ratio: float = setting(0.2, "replayed queries, as a share of all; they come on top of the new")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio(self.replay_ratio)
        check_least(vars(self), {"replay_buffer_size": 1})

    @property
    def continual_replay_ratio(self) -> float:
        """What method replay calls `replay_ratio`."""
        return self.replay_ratio

    @property
    def buffer_size(self) -> int:
        """What method replay calls `replay_buffer_size`."""
        return self.replay_buffer_size


@dataclass(frozen=True)
class CompositionalConfig(Config):
    """One experiment of the compositional track."""

    track: Literal["compositional"] = setting("compositional", "the track")
    name: str = setting("compositional", "names the run and its result file")
    data: ToolDataConfig = field(default_factory=ToolDataConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    training: FitSettings = field(default_factory=FitSettings)
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    lora: ToolLoraConfig = field(default_factory=ToolLoraConfig)
    prompting: ToolPromptSettings = field(default_factory=ToolPromptSettings)
    methods: tuple[str, ...] = setting(
        ("tokmem",), "methods to compare; `tokmem+adaptation=auxiliary` changes a setting of one"
    )
    seeds: tuple[int, ...] = setting((0,), "of starting rows and order; results are means over them")
    call_limits: tuple[int, ...] = setting(
        (), "learn again from queries of at most n calls, for each n; none: data.train_max_calls"
    )
    rates: tuple[float, ...] = setting((), "rates to choose from on validation loss; none: training.lr")
    start: Start = same_as(TokMemSettings, "start")
    width: int = same_as(TokMemSettings, "width", "memory tokens of each tool")
    call_style: CallStyle = same_as(TokMemSettings, "call_style")
    renorm: Renorm = same_as(
        TokMemSettings, "renorm", "rescale new rows to the norm of the old: off, stage (round) or step"
    )
    renorm_active_tools: bool = setting(False, "the published word for renorm: stage")
    negatives: int = same_as(
        TokMemSettings,
        "negatives",
        "states to keep of each tool, anywhere in a chain, to train newcomers against",
    )
    max_length: int = setting(1024, "most tokens in a sequence")
    save_checkpoints: bool = setting(
        False, "keep what was learned after each round, and write checkpoints/training_summary.json"
    )

    def __post_init__(self) -> None:
        check_filled(vars(self), ("methods", "seeds"))
        check_once(vars(self), ("seeds", "call_limits", "rates"))
        check_least(vars(self), {"call_limits": 1, "rates": 0, "max_length": 1})
        if self.training.epochs != 1:
            got = f"training.epochs {self.training.epochs}"
            raise ConfigError(got, "epochs of each round", "set rounds.epochs_per_round")
        check_order_seed(self.training)
        if self.call_limits and changed(self.data, ("train_max_calls", "train_max_calls_per_round")):
            raise ConfigError("call_limits and data.train_max_calls", "one of them", "leave the other out")
        count = len(self.rounds.plan())
        for name in ("train_max_calls_per_round", "test_max_calls_per_round"):
            check_per_round(f"data.{name}", getattr(self.data, name), count)
        self._check_variants(self.variants)

    def _check_variants(self, variants: tuple[ToolVariant, ...]) -> None:
        for variant in variants:
            variant.check()
        if any(variant.rates for variant in variants) and not self.data.val_size:
            raise ConfigError("rates to choose from and no validation queries", "data.val_size of at least 1")
        if len({(variant.row_name, variant.adaptation) for variant in variants}) < len(variants):
            raise ConfigError(f"methods {list(self.methods)}", "each once: a mean would count one twice")
        check_search(variant.rates for variant in variants if variant.spec.trains)
        if any(variant.adaptation == "auxiliary" for variant in variants):
            learned = [tools for tools, _ in self.rounds.plan()]
            require_disjoint([*ToolRange.parse_all(self.adaptation.auxiliary_tools), *learned])

    @property
    def variants(self) -> tuple[ToolVariant, ...]:
        """What the experiment compares."""
        parsed = parse_variants(self.methods, "compositional", _VARIABLE)
        return tuple(ToolVariant(self, variant) for variant in parsed)


@dataclass(frozen=True)
class ToolVariant:
    """A variant of an experiment: which method it is, and with which settings."""

    config: CompositionalConfig
    variant: MethodVariant

    @property
    def name(self) -> str:
        """As written; names its files."""
        return self.variant.name

    @property
    def method(self) -> str:
        """The method that the variant's switches make it."""
        for switch, names in _SWITCHES.items():
            if self.variant.method in names:
                given = {"use_replay_buffer": self.config.lora, "use_rag": self.config.prompting}[switch]
                default = self.variant.method == names[1] or getattr(given, switch)
                return names[self.variant.changes.get(switch, default)]
        return self.variant.method

    @property
    def adaptation(self) -> Adaptation:
        """How the variant's backbone is adapted; section `adaptation` decides for memory tokens alone."""
        chosen = self.config.adaptation.chosen if self.variant.spec.kind.chains else "none"
        return self.variant.changes.get("adaptation", chosen)

    @property
    def call_style(self) -> CallStyle:
        """How calls end in adaptation: the method's setting if it has one, else the experiment's."""
        return getattr(self.own, "call_style", self.config.call_style)

    @property
    def spec(self) -> MethodSpec:
        """How its method is built."""
        beside = self.adaptation in ("first_round", "always")
        return BESIDE_ADAPTER if beside else methods_of("compositional")[self.method]

    @property
    def own(self) -> Any:
        """The settings of its method.

        Raises:
            ConfigError: a value is out of range, or two do not go together.
        """
        changes = dict(self.variant.changes)
        changes.pop("adaptation", None)
        if self.config.renorm_active_tools and self.config.renorm == "off":
            changes.setdefault("renorm", "stage")
        if self.spec is BESIDE_ADAPTER:
            frozen = self.adaptation == "first_round"
            changes |= {"coupled": self.variant.method == "tokmem", "freeze_after_first": frozen}
        return self.spec.own_settings(self.config, changes)

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates that it searches."""
        return rates_of(self.config, self.spec)

    @property
    def row_name(self) -> str:
        """The name in rows: with the method that the switches make, without the adaptation.

        A row names the adaptation in an entry of its own.
        """
        told = ("adaptation=", *(f"{switch}=" for switch in _SWITCHES))
        changes = self.name.split("+")[1:]
        return "+".join([self.method, *(part for part in changes if not part.startswith(told))])

    @property
    def training_name(self) -> str:
        """The variant's name without decoding-only settings. Variants with equal names share training."""
        return "+".join(part for part in self.name.split("+") if not part.startswith("constrained="))

    def setup(self, backbone: Backbone, seed: int, rate: float | None) -> Setup:
        """What its method is built with; only memory tokens can constrain arguments."""
        config, changes = self.config, self.variant.changes
        constrained = self.spec.kind.chains and changes.get("constrained", config.recall.constrained)
        shuffle = config.training.shuffle and not config.rounds.curriculum_learning
        return Setup(
            backbone,
            fit=replace(config.training, shuffle=shuffle),
            recall=replace(config.recall, mode="chain", constrained=constrained),
            prompt="query",
            max_length=config.max_length,
            seed=seed,
            rate=rate,
        )

    def check(self) -> None:
        """Refuses settings with which the variant cannot be built or trained.

        Raises:
            ConfigError: one is out of range, or two do not go together.
        """
        _ = self.own
        if "prompting" in self.spec.sections:
            prompt_room(self.config.max_length, self.config.recall)
        if self.spec is BESIDE_ADAPTER and min(self.config.rates or (self.config.training.lr,)) == 0:
            raise ConfigError(
                f"a rate of 0 and adaptation {self.adaptation}",
                "above 0: the adapter's rate is a multiple of it",
                "change training.lr or rates",
            )
