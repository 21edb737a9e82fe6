"""The settings of the atomic track."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from tokmem.bank.init import Start
from tokmem.bank.policy import Shared
from tokmem.config import Config, check_filled, check_least, check_once, same_as, setting
from tokmem.data import PromptMode
from tokmem.data.calls.text import CallStyle
from tokmem.data.probes import Probe
from tokmem.data.schedule import Schedule
from tokmem.errors import ConfigError
from tokmem.methods.adapted import AdapterSettings
from tokmem.methods.icl import IclSettings
from tokmem.methods.memory_settings import Addresses, Renorm, TokMemSettings
from tokmem.methods.rag import RagSettings
from tokmem.methods.replay import ReplaySettings
from tokmem.model.settings import BackboneConfig
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.atomic.data import DataConfig
from tokmem.tracks.checks import check_order_seed
from tokmem.tracks.rates import check_search, rates_of
from tokmem.tracks.variants import MethodVariant, parse_variants
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class DemonstrationConfig(RagSettings, IclSettings):
    """Demonstrations before a query: of the right task (icl), or retrieved (rag)."""

    def __post_init__(self) -> None:
        IclSettings.__post_init__(self)
        RagSettings.__post_init__(self)


@dataclass(frozen=True)
class AtomicConfig(Config):
    """One experiment of the atomic track."""

    track: Literal["atomic"] = setting("atomic", "the track")
    name: str = setting("atomic", "names the run and its result file")
    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    training: FitSettings = field(default_factory=FitSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    lora: AdapterSettings = field(default_factory=AdapterSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    demonstrations: DemonstrationConfig = field(default_factory=DemonstrationConfig)
    methods: tuple[str, ...] = setting(
        ("base", "tokmem", "tokmem_dc"), "methods to compare; `tokmem+renorm=stage` changes a setting of one"
    )
    prompts: tuple[PromptMode, ...] = setting(("instruction+query",), "what a prompt holds")
    seeds: tuple[int, ...] = setting((0,), "of starting rows and order; results are means over them")
    stages: tuple[int, ...] = setting((), "numbers of tasks after which to measure; none: only after all")
    schedule: Schedule = setting("mixed", "learned together: all of a stage (mixed), blocks, or single tasks")
    block_size: int = setting(10, "tasks in a block, if the schedule is blocks")
    probes: tuple[Probe, ...] = setting(
        (), "ask again with other instructions: truncated (their first half), reworded (procedures)"
    )
    train_sizes: tuple[int, ...] = setting(
        (), "learn again from the first n examples of each task, for each n; none: data.train_size"
    )
    rates: tuple[float, ...] = setting((), "rates to choose from on validation loss; none: training.lr")
    start: Start = same_as(TokMemSettings, "start")
    width: int = same_as(TokMemSettings, "width")
    call_style: CallStyle = same_as(TokMemSettings, "call_style")
    renorm: Renorm = same_as(TokMemSettings, "renorm")
    negatives: int = same_as(TokMemSettings, "negatives")
    addresses: Addresses = same_as(TokMemSettings, "addresses")
    shared: Shared = same_as(TokMemSettings, "shared")
    ridge: float = same_as(TokMemSettings, "ridge")
    false_accept: float = same_as(TokMemSettings, "false_accept")
    stand_ins: int = same_as(TokMemSettings, "stand_ins")
    max_length: int = setting(1024, "most tokens in a sequence")
    skip_training: bool = setting(False, "evaluate a saved bank (load_task_tokens) without training")
    load_task_tokens: str = same_as(TokMemSettings, "load_task_tokens")

    def __post_init__(self) -> None:
        check_filled(vars(self), ("methods", "prompts", "seeds"))
        check_once(vars(self), ("methods", "prompts", "seeds", "train_sizes", "rates"))
        least = dict.fromkeys(("train_sizes", "block_size", "width", "max_length"), 1)
        check_least(vars(self), {**least, "rates": 0, "negatives": 0})
        check_order_seed(self.training)
        variants = self.variants
        for variant in variants:
            variant.own(self)
            if self.skip_training:
                _check_saved(self, variant)
        showing = [one.name for one in variants if "demonstrations" in one.spec.sections]
        if self.data.few_shot and showing:
            raise ConfigError(
                f"data.few_shot {self.data.few_shot} and {', '.join(showing)}, which show their own",
                "one of the two",
                "leave out data.few_shot; theirs are demonstrations.few_shot and demonstrations.retrieval_k",
            )
        check_search(rates_of(self, one.spec) for one in variants if one.spec.trains)

    @property
    def variants(self) -> tuple[MethodVariant, ...]:
        """What the experiment compares."""
        return parse_variants(self.methods, "atomic")


def _check_saved(config: AtomicConfig, variant: MethodVariant) -> None:
    """Refuses to measure without training a method that loads nothing."""
    source = variant.spec.starts_from
    if not variant.spec.learns or (source and attrgetter(source)(config)):
        return
    wanted, do = "methods that load what they know", "leave it out, or train"
    if source:
        wanted, do = "knowledge saved by an earlier run", f"give its folder as {source}"
    raise ConfigError(f"skip_training and method {variant.name}", wanted, do)
