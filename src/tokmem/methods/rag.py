"""Retrieval: no training; the solved examples most similar to a query come before it as demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from tokmem.bank.bank import Bank
from tokmem.config import Config, check_least, setting
from tokmem.data.chat import Chat
from tokmem.data.demonstrations import demonstration, fit_demonstrations, only_turn, refuse_demonstrations
from tokmem.data.encode import Encoder, PromptMode
from tokmem.errors import ConfigError
from tokmem.log import Callbacks
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.methods.retrieval.pool import Hit, Pool, route_of
from tokmem.methods.retrieval.text_encoder import (
    DEFAULT_RETRIEVER,
    SentenceEncoder,
    TextEncoder,
    shared_encoder,
)
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Procedure


@dataclass(frozen=True)
class RagSettings(Config):
    """How many examples are retrieved, and by which text encoder."""

    retrieval_k: int = setting(3, "retrieved demonstrations before a query")
    retriever: str = setting(DEFAULT_RETRIEVER, "a sentence-transformers id or folder")

    def __post_init__(self) -> None:
        check_least(vars(self), {"retrieval_k": 1})


class Rag(Method):
    """The untrained backbone with demonstrations retrieved from all training examples seen so far.

    With prompt mode ``instruction+query`` a query is embedded with its instruction. The pool's texts are
    queries alone, as in the paper. With ``include_instruction_in_demos`` they hold their instructions too,
    which nearly gives the procedure away. With prompt mode ``query`` no text holds an instruction.

    Args:
        backbone: a loaded backbone.
        retriever: a text encoder, or the hub id or folder of a sentence-transformers model.
        retrieval_k: demonstrations before a query; the most similar is last, next to the query.
        include_instruction_in_demos: whether the pool's texts and demonstrations hold their instructions.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence; the least similar demonstrations go until a prompt fits.
        recall: how to generate.

    Raises:
        ConfigError: ``retrieval_k`` is below 1, the retriever cannot be had, or the extra `rag` is missing.
    """

    forces = True
    retrieves = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        retriever: str | TextEncoder = DEFAULT_RETRIEVER,
        retrieval_k: int = 3,
        include_instruction_in_demos: bool = False,
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        recall: RecallSettings | None = None,
    ) -> None:
        if retrieval_k < 1:
            raise ConfigError(f"retrieval_k {retrieval_k}", "at least 1 demonstration", "raise it")
        self.lm = MemoryLM(backbone.model, Bank(backbone.dim, backbone.id_space()))
        self.encoder = Encoder(Chat(backbone.tokenizer), {}, prompt=prompt, max_length=max_length)
        self.recall = recall or RecallSettings()
        self.retrieval_k, self.include_instruction_in_demos = retrieval_k, include_instruction_in_demos
        if isinstance(retriever, str):
            retriever = SentenceEncoder(retriever, device=backbone.device)
        self.pool = Pool(retriever, self._pool_text)

    def _pool_text(self, example: Example) -> str:
        """The text that a query is compared with."""
        return self.encoder.user_text(self._instruction(example), example.query)

    def _instruction(self, example: Example) -> str:
        return example.instruction if self.include_instruction_in_demos else ""

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        return {
            "retriever": self.pool.encoder.name,
            "retrieval_k": self.retrieval_k,
            "include_instruction_in_demos": self.include_instruction_in_demos,
        }

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Embeds the training examples and adds them to the pool; nothing is trained.

        Raises:
            DataError: an example has no turn or several, or demonstrations of its own.
        """
        refuse_demonstrations(train)
        started = perf_counter()
        self.pool.add(train)
        return Learned(perf_counter() - started)

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query after the most similar examples; `forced` takes the right procedure's only.

        A route names the procedures of the `retrieval_k` examples of free retrieval, also if `forced`. Each
        procedure ranks by its most similar example. The probabilities are a softmax over those cosines: they
        rank and are not calibrated. No query is rejected, and nothing outside the pool competes
        (`memory_mass` 1).

        Raises:
            DataError: an example has demonstrations of its own, or, `forced`, no turn or several.
            RecallError: nothing was learned, or, `forced`, not the right procedure.
        """
        refuse_demonstrations(examples)
        if not examples:
            return []
        queries = self.pool.embed([self.encoder.user_text(e.instruction, e.query) for e in examples])
        found = shown = self.pool.nearest(queries, self.retrieval_k)
        if forced:
            right = [only_turn(e).procedure for e in examples]
            shown = self.pool.nearest(queries, self.retrieval_k, right)
        prompts = [self._with_demonstrations(e, hits) for e, hits in zip(examples, shown, strict=True)]
        fitted = fit_demonstrations(self.encoder, prompts, drop="first")
        answers = answer_examples(self.lm, self.encoder, fitted, self.recall)
        return [replace(a, route=route_of(hits)) for a, hits in zip(answers, found, strict=True)]

    def settled(self, example: Example, answer: Answer) -> bool:
        """Whether all retrieved examples are of the right procedure, and no token is drawn."""
        if self.recall.temperature:
            return False
        retrieved = answer.route.choices if answer.route else ()
        return [choice.procedure for choice in retrieved] == [only_turn(example).procedure]

    def _with_demonstrations(self, example: Example, hits: Sequence[Hit]) -> Example:
        shown = tuple(demonstration(hit.example, self._instruction(hit.example)) for hit in reversed(hits))
        return replace(example, demonstrations=shown)

    @property
    def _texts(self) -> dict[str, Any]:
        """The settings that decide the texts in the pool."""
        return {
            "include_instruction_in_demos": self.include_instruction_in_demos,
            "prompt": self.encoder.mode,
        }

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the pool: examples and embeddings."""
        self.pool.save(folder, self._texts, training or {})

    def restore(self, folder: Path) -> None:
        """Loads the pool that `save` wrote.

        Raises:
            ConfigError: its texts were made by another retriever, prompt mode or setting.
            DataError: there is none, or it is damaged.
        """
        self.pool.load(folder, self._texts)


def _build(setup: Setup, own: RagSettings, instructed: bool) -> Method:
    return Rag(
        setup.backbone,
        retriever=shared_encoder(own.retriever, str(setup.backbone.device)),
        retrieval_k=own.retrieval_k,
        include_instruction_in_demos=instructed,
        prompt=setup.prompt,
        max_length=setup.max_length,
        recall=setup.recall,
    )


SPECS = tuple(
    MethodSpec(
        name,
        Rag,
        RagSettings,
        partial(_build, instructed=instructed),
        variable={"atomic": ("retrieval_k",)},
        sections=("demonstrations",),
    )
    for name, instructed in (("rag", False), ("rag_instructed", True))
)
