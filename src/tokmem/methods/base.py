"""No training: the backbone answers the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.bank.bank import Bank
from tokmem.config import Config
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder, PromptMode
from tokmem.log import Callbacks
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Procedure


@dataclass(frozen=True)
class BaseSettings(Config):
    """The untrained backbone has no settings of its own."""


class Base(Method):
    """The untrained backbone.

    Args:
        backbone: a loaded backbone.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence.
        chat: how prompts are written; None takes the backbone's own chat format.
        recall: how to generate.
    """

    continual = False

    def __init__(
        self,
        backbone: Backbone,
        *,
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        chat: Chat | None = None,
        recall: RecallSettings | None = None,
    ) -> None:
        self.lm = MemoryLM(backbone.model, Bank(backbone.dim, backbone.id_space()))
        chat = chat or Chat(backbone.tokenizer)
        self.encoder = Encoder(chat, {}, prompt=prompt, max_length=max_length)
        self.recall = recall or RecallSettings()

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Learns nothing."""
        return Learned()

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query; `forced` has no effect."""
        return answer_examples(self.lm, self.encoder, examples, self.recall)

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes nothing: nothing was learned."""

    def restore(self, folder: Path) -> None:
        """Reads nothing: nothing was written."""


def _build(setup: Setup, own: BaseSettings) -> Method:
    return Base(
        setup.backbone,
        prompt=setup.prompt,
        max_length=setup.max_length,
        chat=setup.chat,
        recall=setup.recall,
    )


SPECS = (MethodSpec("base", Base, BaseSettings, _build, variable={"atomic": (), "reason": ()}, learns=False),)
