"""Prefix placement: trained embeddings before the query; TokMem's stand after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.bank.bank import Bank
from tokmem.bank.init import Start, wide_rows
from tokmem.bank.store import load_bank, save_bank
from tokmem.config import Config, setting
from tokmem.data.chat import Chat
from tokmem.data.encode import PromptMode
from tokmem.data.placement import BeforeQuery, Placement, PrefixEncoder, check_before
from tokmem.errors import BankError
from tokmem.log import Callbacks
from tokmem.methods.memory_settings import origin_of
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup, Trained
from tokmem.model.backbone import Backbone, input_embedding, load_backbone
from tokmem.model.catalog import SMOLLM2
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Procedure
from tokmem.seeds import generator
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class PrefixTuningSettings(Config):
    """Where the embeddings stand, how many there are, and how they start."""

    start: Start = setting("mean", "starting rows of memory tokens")
    width: int = setting(1, "memory tokens of each procedure")
    placement: BeforeQuery = setting("prefix", "prefix: after BOS; before_bos: before it")


class PrefixTuning(Trained):
    """A soft prompt for each procedure, in a bank: embeddings that the model reads and never predicts.

    Embeddings before the query change every state after them, so training takes the plain path: the whole
    sequence with a graph (`frozen_prefix` and `prefix_cache_mb` have no effect). The method does not route:
    it is told the procedure of each example, also at recall.

    Args:
        backbone: a loaded backbone, or what `load_backbone` takes as a name.
        placement: `prefix`: between BOS and the rest of the prompt; `before_bos`: first of all.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence, memory tokens included.
        chat: how prompts are written; None takes the backbone's own chat format.
        settings: how `learn` trains.
        recall: how `answer` generates.
        start: starting rows.
        width: embeddings a procedure.
        seed: of the starting rows.

    Raises:
        ConfigError: the placement is neither of the two.
    """

    accumulates = True

    def __init__(
        self,
        backbone: Backbone | str = SMOLLM2,
        *,
        placement: Placement = "prefix",
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        chat: Chat | None = None,
        settings: FitSettings | None = None,
        recall: RecallSettings | None = None,
        start: Start = "mean",
        width: int = 1,
        seed: int = 0,
    ) -> None:
        check_before(placement)
        self.backbone = load_backbone(backbone) if isinstance(backbone, str) else backbone
        self.lm = MemoryLM(
            self.backbone.model, Bank(self.backbone.dim, self.backbone.id_space()), writes=False
        )
        self.chat = chat or Chat(self.backbone.tokenizer)
        self.placement, self.prompt, self.max_length = placement, prompt, max_length
        self.settings, self.recall_settings = settings or FitSettings(), recall or RecallSettings()
        self.start, self.width, self.seed = start, width, seed

    @property
    def bank(self) -> Bank:
        """The embeddings."""
        return self.lm.read

    @property
    def trainable_parameters(self) -> int:
        """How many numbers learning may change."""
        return self.bank.trainable_parameters

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        return {name: getattr(self, name) for name in ("placement", "start", "width")}

    @property
    def encoder(self) -> PrefixEncoder:
        """Examples to token ids, with the bank as it is now."""
        return PrefixEncoder(
            self.chat,
            self.bank.memory,
            placement=self.placement,
            prompt=self.prompt,
            max_length=self.max_length,
        )

    def add(self, procedures: Sequence[Procedure]) -> None:
        """Adds procedures with starting rows, trainable until the next stage begins.

        Raises:
            BankError: a name is taken, or no token id is free.
        """
        described = [self.chat.text_ids(p.description or p.name) for p in procedures]
        weight = input_embedding(self.backbone.model).weight
        draws = generator(self.seed, "start", "steering", len(self.bank))
        rows = wide_rows(self.start, weight, described, self.width, generator=draws)
        self.bank.add(procedures, rows)

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Freezes what was learned before, adds the procedures, and trains their embeddings.

        Raises:
            DataError: an example has several turns or an unknown procedure, or cannot be made to fit.
            TrainingError: there is nothing to train, or training failed.
        """
        self.bank.freeze()
        self.add(procedures)
        encoder, settings = self.encoder, self.settings
        examples, held = ([encoder.encode(e) for e in part] for part in (train, validation))
        encoder.report_cuts()
        report = fit(
            BankObjective(self.lm, frozen_prefix=False, cache_bytes=0),
            examples,
            settings,
            validation=held,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )
        return Learned(report.seconds, report.steps, report.best_loss, new_examples=report.examples)

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query after the embeddings of its example's procedure; `forced` has no effect.

        Raises:
            DataError: an example names no procedure, or an unknown one.
        """
        return answer_examples(self.lm, self.encoder, examples, self.recall_settings)

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the embeddings as a bank; its notes name the placement."""
        notes = {"prompt": self.prompt, "placement": self.placement, **(training or {})}
        save_bank(self.bank, folder, origin_of(self.backbone, self.chat, notes))

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote.

        Raises:
            BankError: it is damaged, or of another backbone, chat format or placement.
        """
        own = self.backbone
        bank, origin = load_bank(
            folder, fingerprint=own.fingerprint, chat=self.chat.fingerprint, configuration=own.configuration
        )
        saved = origin.training.get("placement", "infix")
        if saved != self.placement:
            raise BankError(f"{folder} holds embeddings of placement {saved}", f"placement {self.placement}")
        self.lm = MemoryLM(self.backbone.model, bank, writes=False)


def _build(setup: Setup, own: PrefixTuningSettings) -> Method:
    return PrefixTuning(
        setup.backbone,
        placement=own.placement,
        prompt=setup.prompt,
        max_length=setup.max_length,
        chat=setup.chat,
        settings=setup.training(),
        recall=setup.recall,
        start=own.start,
        width=own.width,
        seed=setup.seed,
    )


SPECS = (
    MethodSpec(
        "prefix",
        PrefixTuning,
        PrefixTuningSettings,
        _build,
        variable={"reason": ("start", "placement")},
        sections=("",),
        rates="rates",
    ),
)
