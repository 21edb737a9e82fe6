"""Adaptation to tools: whether and when a LoRA adapter trains beside the memory tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tokmem.bank.init import Start
from tokmem.config import Config, check_least, setting
from tokmem.data.calls.compose import Composed
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.text import CallStyle
from tokmem.errors import ConfigError
from tokmem.log import Callbacks
from tokmem.methods.tokmem_lora import TokMemLora
from tokmem.model.backbone import Backbone, save_backbone, wrap_backbone
from tokmem.model.lora import LoraSettings
from tokmem.recall.settings import RecallSettings
from tokmem.train.optim import Schedule
from tokmem.train.settings import FitSettings

Adaptation = Literal["none", "auxiliary", "first_round", "always"]


@dataclass(frozen=True)
class AdaptationSettings(Config):
    """How the backbone adapts; the defaults are the paper's. Section `lora` has the adapter's shape."""

    adaptation: Adaptation = setting(
        "none",
        "none; auxiliary: on other tools, then merged (Algorithm 1); first_round: trained with the first "
        "round's memory tokens, then frozen, never merged; always: trained in every round",
    )
    use_lora: bool = setting(False, "the published word for adaptation: always")
    freeze_lora_after_first: bool = setting(False, "with use_lora: adaptation: first_round")
    lora_lr: float = setting(5e-5, "AdamW's rate of the adapter beside memory tokens")
    lora_weight_decay: float = setting(1e-2, "AdamW's decay of the adapter")
    auxiliary_tools: str = setting("1-50", "tools to adapt on: one or more ranges, such as 1-50,101-250")
    auxiliary_train_size: int = setting(5000, "queries to adapt on")
    auxiliary_epochs: int = setting(1, "passes over the queries to adapt on")
    auxiliary_lr: float = setting(5e-3, "AdamW's rate of the temporary memory tokens")
    auxiliary_schedule: Schedule | None = setting(
        None, "schedule of the adaptation's rates; none: training.schedule"
    )
    auxiliary_seed: int = setting(0, "seed of the adaptation; all seeds of the experiment share it")

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

    def training(self, given: FitSettings) -> FitSettings:
        """How to train on the auxiliary tools."""
        return replace(
            given,
            lr=self.auxiliary_lr,
            epochs=self.auxiliary_epochs,
            schedule=self.auxiliary_schedule or given.schedule,
            seed=self.auxiliary_seed,
        )


def adapt_backbone(
    plain: Backbone,
    auxiliary: Composed,
    folder: Path,
    given: AdaptationSettings,
    *,
    lora: LoraSettings,
    training: FitSettings,
    start: Start,
    max_length: int,
    call_style: CallStyle,
    checkpoint: Path,
    callbacks: Callbacks,
) -> dict[str, Any]:
    """Algorithm 1: trains memory tokens of auxiliary tools beside an adapter, and merges the adapter.

    Args:
        plain: the backbone to adapt; it stays unchanged.
        auxiliary: tools and their queries.
        folder: receives the adapted backbone, for `load_backbone` to read.
        given: rates, epochs and seed.
        lora: the adapter's shape.
        training: the other training settings.
        start: starting rows of the temporary memory tokens.
        max_length: most tokens in a sequence.
        call_style: how calls end, in adaptation as in what learns on the adapted backbone.
        checkpoint: folder for the checkpoint of the training.
        callbacks: told of its steps.

    Returns:
        what the adaptation took, and the fingerprint of the adapted backbone.

    Raises:
        ConfigError: the backbone is quantized, so an adapter cannot be merged into it.
    """
    if getattr(plain.model, "is_quantized", False):
        raise ConfigError("adaptation auxiliary of a quantized backbone", "weights that can be merged into")
    method = TokMemLora(
        plain,
        freeze_after_first=True,
        lora=lora,
        lora_lr=given.lora_lr,
        lora_weight_decay=given.lora_weight_decay,
        prompt="query",
        start=start,
        max_length=max_length,
        call_style=call_style,
        settings=given.training(training),
        recall=RecallSettings(mode="chain"),
        seed=given.auxiliary_seed,
    )
    train, validation = auxiliary.train, auxiliary.validation
    learned = method.learn(
        auxiliary.procedures, train, validation, checkpoint=checkpoint, callbacks=callbacks
    )
    merged = wrap_backbone(method.adapter.merged(), plain.tokenizer, folder.name)
    save_backbone(merged, folder)
    return {
        "tools": ",".join(map(str, ToolRange.parse_all(given.auxiliary_tools))),
        "examples": len(train),
        "epochs": given.auxiliary_epochs,
        "call_style": call_style,
        "lora": asdict(lora),
        "lora_parameters": method.adapter.trainable_parameters,
        "train_seconds": round(learned.seconds, 2),
        "validation_loss": learned.validation_loss,
        "backbone_fingerprint": merged.fingerprint,
    }
