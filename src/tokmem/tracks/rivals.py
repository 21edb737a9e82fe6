"""The settings of the rivals: what an experiment may say about each method that is not TokMem."""

from __future__ import annotations

from dataclasses import dataclass

from tokmem.config import check_least, setting
from tokmem.data.replay import check_ratio
from tokmem.methods.retrieval.text_encoder import DEFAULT_RETRIEVER
from tokmem.model.lora import LoraSettings


@dataclass(frozen=True)
class LoraConfig(LoraSettings):
    """LoRA, with and without replay; the rate and decay are the paper's."""

    lr: float = setting(5e-5, "AdamW's rate")
    weight_decay: float = setting(1e-2, "AdamW's decay")
    rates: tuple[float, ...] = setting((), "rates to choose from, as many as the experiment's own `rates`")
    load_model: str = setting("", "folder of a saved adapter to start from")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(vars(self), dict.fromkeys(("lr", "weight_decay", "rates"), 0))


@dataclass(frozen=True)
class ReplayConfig:
    """Experience replay."""

    continual_replay_ratio: float = setting(0.2, "replayed examples, as a share of all")
    buffer_size: int = setting(500, "examples kept of all earlier blocks")

    def __post_init__(self) -> None:
        check_ratio(self.continual_replay_ratio)
        check_least(vars(self), {"buffer_size": 1})


@dataclass(frozen=True)
class ToolLoraConfig(LoraConfig):
    """LoRA over rounds; its shape is also that of the adapter beside memory tokens."""

    reinit_lora: bool = setting(False, "method lora starts each round from a fresh adapter")
    use_replay_buffer: bool = setting(False, "method lora replays queries of earlier rounds: method replay")
    replay_buffer_size: int = setting(1000, "queries kept of all earlier rounds")
    replay_ratio: float = setting(0.2, "replayed queries, as a share of all; they come on top of the new")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio(self.replay_ratio)
        check_least(vars(self), {"replay_buffer_size": 1})


@dataclass(frozen=True)
class PromptingConfig:
    """Tools in the prompt: methods icl and rag."""

    few_shot: int = setting(2, "demonstrations before a query")
    use_rag: bool = setting(False, "method icl shows retrieved tools, not all that fit: method rag")
    retrieval_k: int = setting(5, "tools to retrieve")
    retriever: str = setting(DEFAULT_RETRIEVER, "a sentence-transformers id or folder")

    def __post_init__(self) -> None:
        check_least(vars(self), {"few_shot": 0, "retrieval_k": 1})


@dataclass(frozen=True)
class DemonstrationConfig:
    """Demonstrations before a query: of the right task (icl), or retrieved (rag)."""

    few_shot: int = setting(3, "demonstrations of method icl")
    retrieval_k: int = setting(3, "demonstrations of method rag")
    retriever: str = setting(DEFAULT_RETRIEVER, "a sentence-transformers id or folder")

    def __post_init__(self) -> None:
        check_least(vars(self), {"few_shot": 1, "retrieval_k": 1})
