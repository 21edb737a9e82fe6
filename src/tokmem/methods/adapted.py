"""What the fine-tuning methods share: one LoRA adapter, which every stage trains further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tokmem.bank.bank import Bank
from tokmem.config import check_least, check_once, setting
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder, PromptMode
from tokmem.data.replay import ReplayOrder
from tokmem.errors import AdapterError, DataError
from tokmem.log import Callbacks
from tokmem.methods.protocol import Learned, Setup, Trained
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.catalog import SMOLLM2
from tokmem.model.lora import Adapter, LoraSettings
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Encoded, Example, Procedure
from tokmem.train.adapter import AdapterObjective
from tokmem.train.fit import fit
from tokmem.train.settings import FitSettings

TRAINING = FitSettings(lr=5e-5, weight_decay=1e-2)


@dataclass(frozen=True)
class AdapterSettings(LoraSettings):
    """LoRA, with and without replay; rate and decay are the paper's."""

    lr: float = setting(5e-5, "AdamW's rate")
    weight_decay: float = setting(1e-2, "AdamW's decay")
    rates: tuple[float, ...] = setting((), "rates to choose from, as many as the experiment's own `rates`")
    load_model: str = setting("", "folder of a saved adapter to start from")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_once(vars(self), ("rates",))
        check_least(vars(self), dict.fromkeys(("lr", "weight_decay", "rates"), 0))

    @property
    def shape(self) -> LoraSettings:
        """The adapter's shape alone."""
        return adapter_shape_of(self)


@dataclass(frozen=True)
class FineTuningSettings(AdapterSettings):
    """LoRA over several stages."""

    reinit_lora: bool = setting(False, "method lora starts each round from a fresh adapter")

    def options(self, setup: Setup) -> dict[str, Any]:
        """The arguments of `Adapted`."""
        return asdict(self.shape) | {
            "reinit_lora": self.reinit_lora,
            "load_model": self.load_model or None,
            "prompt": setup.prompt,
            "max_length": setup.max_length,
            "settings": setup.training(lr=self.lr, weight_decay=self.weight_decay),
            "recall": setup.recall,
            "seed": setup.seed,
        }


def adapter_shape_of(settings: LoraSettings) -> LoraSettings:
    """The adapter's shape, out of settings that hold more."""
    return LoraSettings(**{one.name: getattr(settings, one.name) for one in fields(LoraSettings)})


def check_adapter(setup: Setup, shape: LoraSettings, procedures: Sequence[Procedure]) -> None:
    """Refuses an adapter that does not fit on the backbone.

    Raises:
        ConfigError: the backbone lacks a layer that is to be adapted.
    """
    Adapter(setup.backbone, adapter_shape_of(shape))


class Adapted(Trained):
    """A backbone with a LoRA adapter. Subclasses add `learn`, `save` and `restore`.

    Args:
        backbone: a loaded backbone, or what `load_backbone` takes as a name; it is never changed.
        lora_r: rank.
        lora_alpha: the adapter's product is scaled with alpha / r.
        lora_dropout: share of a layer's inputs that the adapter does not see in training.
        target_modules: names of the linear layers to adapt.
        lora_layer_indices: numbers of the layers to adapt, from 0; none: all.
        reinit_lora: whether each stage after the first starts from a fresh adapter.
        load_model: folder of a saved adapter of this shape to start from.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence.
        settings: how `learn` trains; the default is the paper's for LoRA (rate 5e-5, decay 1e-2). The adapter
            changes how queries are read, so `frozen_prefix` and `prefix_cache_mb` have no effect.
        recall: how `answer` generates.
        seed: of the starting weights.

    Raises:
        ConfigError: an option is out of range, or a target names no linear layer.
        AdapterError: the adapter in `load_model` is damaged, or of another backbone, chat format or shape.
        TokMemError: PEFT is not installed.
    """

    name = ""

    def __init__(
        self,
        backbone: Backbone | str = SMOLLM2,
        *,
        lora_r: int = 8,
        lora_alpha: int = 32,
        lora_dropout: float = 0.1,
        target_modules: tuple[str, ...] = ("q_proj", "v_proj"),
        lora_layer_indices: tuple[int, ...] = (),
        reinit_lora: bool = False,
        load_model: Path | str | None = None,
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        settings: FitSettings | None = None,
        recall: RecallSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.backbone = load_backbone(backbone) if isinstance(backbone, str) else backbone
        shape = LoraSettings(lora_r, lora_alpha, lora_dropout, target_modules, lora_layer_indices)
        self.adapter = Adapter(self.backbone, shape, seed)
        self.lm = MemoryLM(self.adapter.model, Bank(self.backbone.dim, self.backbone.id_space()))
        self.chat = Chat(self.backbone.tokenizer)
        self.prompt, self.max_length = prompt, max_length
        self.settings, self.recall_settings = settings or TRAINING, recall or RecallSettings()
        self.stage, self.seed, self.reinit_lora = 0, seed, reinit_lora
        if load_model:
            self.adapter.load(Path(load_model), {"chat": self.chat.fingerprint})

    @property
    def trainable_parameters(self) -> int:
        """How many numbers each stage may change: r (in + out) for each adapted layer."""
        return self.adapter.trainable_parameters

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        return asdict(self.adapter.settings) | {"reinit_lora": self.reinit_lora}

    @property
    def encoder(self) -> Encoder:
        """Examples to token ids, without memory tokens."""
        return Encoder(self.chat, {}, prompt=self.prompt, max_length=self.max_length)

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query. The method routes nothing, so `forced` has no effect."""
        return answer_examples(self.lm, self.encoder, examples, self.recall_settings)

    def _learn(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        checkpoint: Path | None,
        callbacks: Callbacks,
        *,
        earlier: Sequence[Example] = (),
        ratio: float = 0.0,
    ) -> Learned:
        """Trains a stage with a fresh optimizer, on its examples and on replays of earlier ones.

        Raises:
            DataError: an example has several turns, or cannot be made to fit.
            TrainingError: there are no examples, or training failed.
        """
        if self.reinit_lora and self.stage:
            self.adapter.reset(self.seed, self.stage)
        settings, encoder = self.settings, self.encoder
        given = [_encode(encoder, e) for e in (*train, *earlier)] if train else []
        held = [_encode(encoder, e) for e in validation]
        encoder.report_cuts()
        order = ReplayOrder(settings.stream(len(train)), len(earlier), ratio, self.stage)
        report = fit(
            AdapterObjective(self.lm, self.adapter, seed=settings.seed, stage=self.stage),
            given,
            settings,
            validation=held,
            order=order,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )
        self.stage += 1
        new, replayed = order.totals(report.steps, settings.accumulation)
        return Learned(report.seconds, report.steps, report.best_loss, new, replayed)

    def _save(self, folder: Path, training: Mapping[str, Any] | None, **own: Any) -> None:
        """Writes adapter and stage, and as JSON what else a method needs to continue."""
        notes = {"prompt": self.prompt, "stage": self.stage, "training": dict(training or {})}
        self.adapter.save(folder, self._kind() | notes | own)

    def _restore(self, folder: Path, **wanted: Any) -> dict[str, Any]:
        """Loads adapter and stage; refuses a folder whose notes differ from `wanted`.

        Returns:
            the saved notes.
        """
        notes = self.adapter.load(folder, self._kind() | wanted)
        self.stage = saved_stage(notes, folder)
        return notes

    def _kind(self) -> dict[str, Any]:
        return {"method": self.name, "chat": self.chat.fingerprint}


def saved_stage(notes: Mapping[str, Any], folder: Path) -> int:
    """The stage that the notes of a saved adapter name.

    Raises:
        AdapterError: they name none.
    """
    stage = notes.get("stage")
    if not isinstance(stage, int):
        raise AdapterError(
            f"adapter {folder} of stage {stage!r:.40}", "a number of stages", "take it from a copy"
        )
    return stage


def _encode(encoder: Encoder, example: Example) -> Encoded:
    if len(example.turns) > 1:
        raise DataError(
            f"example {example.id!r}: {len(example.turns)} turns",
            "one response a query, for fine-tuning has no memory tokens to chain them",
            "leave it out, or join its responses",
        )
    return encoder.encode_plain(example)
