"""The capacity track: how much a few memory tokens hold. Its tasks memorise and reason share this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tokmem.bank.init import Start
from tokmem.config import Config, check_filled, check_least, check_once, setting
from tokmem.model.settings import BackboneConfig
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.checks import check_order_seed
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class CapacityConfig(Config):
    """The settings of both tasks."""

    track: Literal["capacity"] = setting("capacity", "the track")
    name: str = setting("capacity", "names the run and its result file")
    task: Literal["memorise", "reason"] = setting("memorise", "memorise passages, or reason through problems")
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    methods: tuple[str, ...] = setting(
        ("tokmem", "prefix"), "methods to compare; `prefix+placement=before_bos` changes a setting of one"
    )
    embeddings: tuple[int, ...] = setting((1, 2, 5), "numbers of memory tokens to try")
    start: Start = setting("sampled", "starting rows of memory tokens")
    seeds: tuple[int, ...] = setting((0,), "of starting rows and order; results are means")
    training: FitSettings = field(default_factory=FitSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)

    def __post_init__(self) -> None:
        check_filled(vars(self), ("methods", "embeddings", "seeds"))
        check_once(vars(self), ("methods", "embeddings", "seeds"))
        check_least(vars(self), {"embeddings": 1})
        check_order_seed(self.training)
