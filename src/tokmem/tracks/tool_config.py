"""The settings of the compositional track."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tokmem.bank.init import Start
from tokmem.config import changed, check_least, check_once, setting
from tokmem.errors import ConfigError
from tokmem.methods.tokmem import Renorm
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.adaptation import AdaptationConfig
from tokmem.tracks.backbone import ToolBackboneConfig
from tokmem.tracks.rates import check_search
from tokmem.tracks.rivals import PromptingConfig, ToolLoraConfig
from tokmem.tracks.rounds import RoundsConfig, check_disjoint, check_per_round
from tokmem.tracks.tool_build import adaptation_of, check_settings, method_name, rates_of, trains, variants
from tokmem.tracks.tool_data import ToolDataConfig
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class CompositionalConfig:
    """One experiment of the compositional track."""

    track: Literal["compositional"] = setting("compositional", "the track")
    name: str = setting("compositional", "names the run and its result file")
    data: ToolDataConfig = field(default_factory=ToolDataConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    backbone: ToolBackboneConfig = field(default_factory=ToolBackboneConfig)
    training: FitSettings = field(default_factory=FitSettings)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    recall: RecallSettings = field(default_factory=RecallSettings)
    lora: ToolLoraConfig = field(default_factory=ToolLoraConfig)
    prompting: PromptingConfig = field(default_factory=PromptingConfig)
    methods: tuple[str, ...] = setting(
        ("tokmem",), "what to compare; `tokmem+adaptation=auxiliary` changes a setting of one"
    )
    seeds: tuple[int, ...] = setting((0,), "of starting rows and order; results are means over them")
    call_limits: tuple[int, ...] = setting(
        (), "learn from queries of at most so many calls, limit after limit; none: data.train_max_calls"
    )
    rates: tuple[float, ...] = setting((), "rates to choose from on validation loss; none: training.lr")
    start: Start = setting("mean", "starting rows of memory tokens")
    width: int = setting(1, "memory tokens a tool")
    renorm: Renorm = setting("off", "rescale new rows to the norm of the old: off, stage (round) or step")
    renorm_active_tools: bool = setting(False, "the published word for renorm: stage")
    negatives: int = setting(
        0, "states to keep of each tool, before its calls wherever in a chain, to train newcomers against"
    )
    max_length: int = setting(1024, "most tokens in a sequence")
    save_checkpoints: bool = setting(
        False, "keep what was known after each round, and the summary as checkpoints/training_summary.json"
    )

    def __post_init__(self) -> None:
        for name in ("methods", "seeds"):
            if not getattr(self, name):
                raise ConfigError(f"no {name}", "at least one")
        check_once(vars(self), ("seeds", "call_limits"))
        check_least(vars(self), {"call_limits": 1, "rates": 0, "max_length": 1})
        if self.training.epochs != 1:
            raise ConfigError(
                f"training.epochs {self.training.epochs}",
                "epochs of each round",
                "set rounds.epochs_per_round",
            )
        if self.training.seed:
            raise ConfigError(f"training.seed {self.training.seed}", "seeds of the experiment", "set seeds")
        if self.call_limits and changed(self.data, ("train_max_calls", "train_max_calls_per_round")):
            raise ConfigError("call_limits and data.train_max_calls", "one of them", "leave the other out")
        count = len(self.rounds.plan())
        for name in ("train_max_calls_per_round", "test_max_calls_per_round"):
            check_per_round(f"data.{name}", getattr(self.data, name), count)
        parsed = variants(self)
        for variant in parsed:
            check_settings(self, variant)
        if any(rates_of(self, variant) for variant in parsed) and not self.data.val_size:
            raise ConfigError("rates to choose from and no validation queries", "data.val_size of at least 1")
        cells = [(method_name(self, variant), adaptation_of(self, variant)) for variant in parsed]
        if len(set(cells)) < len(cells):
            raise ConfigError(f"methods {list(self.methods)}", "each once: a mean would count one twice")
        check_search(rates_of(self, variant) for variant in parsed if trains(variant))
        if any(adaptation_of(self, variant) == "auxiliary" for variant in parsed):
            check_disjoint(self.rounds, self.adaptation.auxiliary_tools)

    @property
    def chosen_renorm(self) -> Renorm:
        """When new rows are rescaled, in whatever words it was asked for."""
        return "stage" if self.renorm_active_tools and self.renorm == "off" else self.renorm
