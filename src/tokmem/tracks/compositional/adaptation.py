"""Adaptation to tools: whether and when a LoRA adapter trains beside the memory tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tokmem.bank.init import Start
from tokmem.config import check_least, setting
from tokmem.data.calls.compose import Composed
from tokmem.data.calls.ranges import ToolRange
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json, read_json
from tokmem.log import logger
from tokmem.methods.tokmem_lora import TokMemLora
from tokmem.model.backbone import Backbone, load_backbone, save_backbone, wrap_backbone
from tokmem.model.lora import LoraSettings
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.compositional.data import ToolDataConfig, ToolSource
from tokmem.tracks.compositional.rounds import check_new_tools
from tokmem.tracks.progress import learn
from tokmem.train.optim import Schedule
from tokmem.train.settings import FitSettings

Adaptation = Literal["none", "auxiliary", "first_round", "always"]


@dataclass(frozen=True)
class AdaptationConfig:
    """How the backbone adapts; the defaults are the paper's. Section `lora` has the adapter's shape."""

    adaptation: Adaptation = setting(
        "none",
        "none; auxiliary: on other tools, then merged (Algorithm 1); first_round: trained with the first "
        "round's memory tokens, then frozen, never merged; always: trained in every round",
    )
    use_lora: bool = setting(False, "the published word for adaptation: always")
    freeze_lora_after_first: bool = setting(False, "with use_lora: adaptation: first_round")
    lora_lr: float = setting(5e-5, "AdamW's rate of the adapter, where it trains beside memory tokens")
    lora_weight_decay: float = setting(1e-2, "its decay")
    auxiliary_tools: str = setting("1-50", "tools to adapt on: a range, or more, such as 1-50,101-250")
    auxiliary_train_size: int = setting(5000, "queries to adapt on")
    auxiliary_epochs: int = setting(1, "passes over them")
    auxiliary_lr: float = setting(5e-3, "AdamW's rate of the temporary memory tokens")
    auxiliary_schedule: Schedule | None = setting(None, "of its rates; none: training.schedule")
    auxiliary_seed: int = setting(0, "of the adaptation; all seeds of the experiment share one")

    def __post_init__(self) -> None:
        check_least(vars(self), {"auxiliary_train_size": 1, "auxiliary_epochs": 1})
        check_least(vars(self), dict.fromkeys(("lora_lr", "lora_weight_decay", "auxiliary_lr"), 0))
        if self.auxiliary_lr == 0:
            raise ConfigError("auxiliary_lr 0", "above 0: the adapter's rate is a multiple of it")
        ToolRange.parse_all(self.auxiliary_tools)
        if self.freeze_lora_after_first and not self.use_lora:
            raise ConfigError("freeze_lora_after_first without use_lora", "both, or adaptation: first_round")
        if self.use_lora and self.adaptation not in ("none", self.published):
            raise ConfigError(
                f"adaptation {self.adaptation} and use_lora", f"one of them: use_lora is {self.published}"
            )

    @property
    def published(self) -> Adaptation:
        """The adaptation that the published switches ask for."""
        return "none" if not self.use_lora else "first_round" if self.freeze_lora_after_first else "always"

    @property
    def chosen(self) -> Adaptation:
        """The adaptation of variants that name none."""
        return self.published if self.use_lora else self.adaptation


@dataclass(frozen=True)
class Auxiliary:
    """Algorithm 1: trains memory tokens of auxiliary tools together with an adapter, and keeps the adapter.

    Attributes:
        config: tools, sizes and rates.
        data: how queries are made; `config` says how many.
        lora: the adapter's shape.
        training: the other training settings; rate and epochs come from `config`.
        start: starting rows of the temporary memory tokens.
        rounds: tools and queries of the later rounds, by range.
        max_length: most tokens in a sequence.
    """

    config: AdaptationConfig
    data: ToolDataConfig
    lora: LoraSettings
    training: FitSettings
    start: Start
    rounds: Mapping[str, Composed]
    max_length: int

    def backbone(
        self, plain: Backbone, source: ToolSource, out: Path, name: str, train_max_calls: int | None
    ) -> tuple[Backbone, dict[str, Any]]:
        """The adapted backbone and the facts of its adaptation; made once, then read from `out`/`name`.

        Args:
            plain: the backbone to adapt; it stays unchanged.
            source: makes the auxiliary queries.
            out: the run's folder.
            name: of the folder in it that receives the adapted backbone, for `load_backbone` to read.
            train_max_calls: most calls in an auxiliary query; None takes the first round's limit in `data`.

        Raises:
            ConfigError: the backbone is quantized, so an adapter cannot be merged into it.
            DataError: there are too few rows, or a round learns an auxiliary tool.
            TokMemError: the file with the facts is damaged.
        """
        folder, facts = out / name, out / f"{name}.json"
        if not facts.is_file():
            atomic_write_json(facts, self._adapt(plain, source, folder, train_max_calls))
        again = f"remove {facts} and resume: the backbone is adapted again, from its checkpoint"
        made: dict[str, Any] = read_json(facts, dict, again)
        return load_backbone(str(folder), device=str(plain.device)), made

    def _adapt(
        self, plain: Backbone, source: ToolSource, folder: Path, train_max_calls: int | None
    ) -> dict[str, Any]:
        if getattr(plain.model, "is_quantized", False):
            raise ConfigError(
                "adaptation auxiliary of a quantized backbone", "weights that can be merged into"
            )
        config = self.config
        data = replace(self.data, train_size=config.auxiliary_train_size, test_size=0, max_samples=None)
        tools = ToolRange.parse_all(config.auxiliary_tools)
        composed = source.composed(tools, data.spec(0, train_max_calls))
        named = config.auxiliary_tools
        check_new_tools({f"{named} (auxiliary)": composed, **self.rounds})
        logger.info("adaptation on tools %s: %d queries", named, len(composed.train))
        training = replace(
            self.training,
            lr=config.auxiliary_lr,
            epochs=config.auxiliary_epochs,
            schedule=config.auxiliary_schedule or self.training.schedule,
            seed=config.auxiliary_seed,
        )
        method = TokMemLora(
            plain,
            freeze_after_first=True,
            lora=self.lora,
            lora_lr=config.lora_lr,
            lora_weight_decay=config.lora_weight_decay,
            prompt="query",
            start=self.start,
            max_length=self.max_length,
            settings=training,
            recall=RecallSettings(mode="chain"),
            seed=config.auxiliary_seed,
        )
        learned = learn(
            method, composed.procedures, composed.train, composed.validation, folder.parent, folder.name
        )
        merged = wrap_backbone(method.adapter.merged(), plain.tokenizer, folder.name)
        save_backbone(merged, folder)
        return {
            "tools": ",".join(map(str, tools)),
            "examples": len(composed.train),
            "epochs": config.auxiliary_epochs,
            "lora": asdict(self.lora),
            "lora_parameters": method.adapter.trainable_parameters,
            "train_seconds": round(learned.seconds, 2),
            "validation_loss": learned.validation_loss,
            "backbone_fingerprint": merged.fingerprint,
        }
