"""A small experiment of the compositional track, for a tiny random model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.methods.adaptation import AdaptationSettings
from tokmem.methods.tool_prompt import ToolPromptSettings
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.compositional.config import CompositionalConfig, ToolLoraConfig
from tokmem.tracks.compositional.data import ToolDataConfig
from tokmem.tracks.compositional.rounds import RoundsConfig
from tokmem.train.settings import FitSettings

DATA = ToolDataConfig(
    samples_per_tool=16, train_size=12, val_size=4, test_size=4, train_max_calls=2, test_max_calls=2
)
CONFIG = CompositionalConfig(
    data=DATA,
    rounds=RoundsConfig(num_rounds=2, tools_per_round=3),
    training=FitSettings(lr=0.02, batch_size=4, checkpoint_every=1),
    adaptation=AdaptationSettings(auxiliary_tools="1-3", auxiliary_train_size=8, lora_lr=0.01),
    recall=RecallSettings(max_new_tokens=6, batch_size=16),
    lora=ToolLoraConfig(lora_r=2, lr=0.01, replay_ratio=0.5),
    prompting=ToolPromptSettings(retrieval_k=2),
)
TIMED = ("train_seconds", "adaptation_seconds", "queries_per_second")


def tiny() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def with_methods(*methods: str, **changes: Any) -> CompositionalConfig:
    return replace(CONFIG, methods=methods, **changes)


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as JSON gives them, without what a clock says."""
    read = json.loads(json.dumps(rows))
    return [{k: v for k, v in row.items() if k.removesuffix("_std") not in TIMED} for row in read]
