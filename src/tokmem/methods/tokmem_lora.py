"""TokMem beside a LoRA adapter that trains too, in the first stage or in every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tokmem.bank.store import load_bank
from tokmem.config import setting
from tokmem.errors import BankError, ConfigError
from tokmem.log import Callbacks
from tokmem.methods.adapted import adapter_shape_of, check_adapter, saved_stage
from tokmem.methods.memory_settings import TokMemSettings, as_trained, check_grammars
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.catalog import SMOLLM2
from tokmem.model.fingerprint import fingerprint
from tokmem.model.lora import Adapter, LoraSettings, adapter_shape
from tokmem.records import Example, Procedure
from tokmem.train.adapter import JointObjective
from tokmem.train.objective import Objective
from tokmem.train.settings import FitSettings

BANK, ADAPTER = "bank", "adapter"  # what `save` writes


@dataclass(frozen=True)
class TokMemLoraSettings(TokMemSettings, LoraSettings):
    """Memory tokens, the shape of the adapter, and its rate and decay."""

    coupled: bool = setting(True, "address and steering are one parameter")
    freeze_after_first: bool = setting(True, "only the first stage trains the adapter")
    lora_lr: float = setting(5e-5, "AdamW's rate of the adapter")
    lora_weight_decay: float = setting(1e-2, "AdamW's decay of the adapter")

    def __post_init__(self) -> None:
        LoraSettings.__post_init__(self)
        TokMemSettings.__post_init__(self)
        check_negatives(self.negatives, self.freeze_after_first)


class TokMemLora(TokMem):
    """Memory tokens and an adapter, trained together; the adapter is never merged.

    Its banks belong to the adapted backbone: their fingerprint covers the adapter. If the adapter is frozen
    after the first stage, later stages are TokMem's on that backbone. If it trains on, the rows of earlier
    stages stay bit-equal but the backbone beneath them changes, so they are forgotten.

    Args:
        backbone: a loaded backbone, or what `load_backbone` takes as a name; it is never changed.
        freeze_after_first: whether only the first stage trains the adapter.
        lora: the adapter's shape.
        lora_lr: its rate; rows have that of `settings`.
        lora_weight_decay: its decay.
        options: see `TokMem`.

    Raises:
        ConfigError: query states are to be kept although the backbone keeps changing; or as `TokMem`.
        TokMemError: PEFT is not installed.
    """

    def __init__(
        self,
        backbone: Backbone | str = SMOLLM2,
        *,
        freeze_after_first: bool,
        lora: LoraSettings | None = None,
        lora_lr: float = 5e-5,
        lora_weight_decay: float = 1e-2,
        seed: int = 0,
        **options: Any,
    ) -> None:
        plain = load_backbone(backbone) if isinstance(backbone, str) else backbone
        self.adapter = Adapter(plain, lora or LoraSettings(), seed)
        adapted = replace(plain, model=self.adapter.model, fingerprint=fingerprint(self.adapter.model))
        super().__init__(adapted, seed=seed, **{"addresses": "trained", **options})
        check_negatives(self.negatives, freeze_after_first)
        if self.bank.statistics is not None:
            raise ConfigError(
                "closed-form addresses beside an adapter that trains",
                "states that stay the same",
                "set addresses to trained, or use TokMem on the adapted backbone",
            )
        self.freeze_after_first = freeze_after_first
        self.lora_lr, self.lora_weight_decay = lora_lr, lora_weight_decay
        self.stage = 0

    @classmethod
    def load(
        cls,
        folder: Path | str,
        backbone: Backbone | str | None = None,
        *,
        device: str = "auto",
        freeze_after_first: bool = True,
        **options: Any,
    ) -> TokMemLora:
        """Loads what `save` wrote; `options` are those of the constructor, the adapter's shape is its own.

        Raises:
            AdapterError: the adapter is damaged, or of another backbone.
            BankError: the bank is damaged, or of another adapter or chat format.
        """
        saved, origin = load_bank(Path(folder) / BANK)
        name = origin.backbone if backbone is None else backbone
        loaded = cls(
            load_backbone(name, device=device) if isinstance(name, str) else name,
            freeze_after_first=freeze_after_first,
            lora=adapter_shape(Path(folder) / ADAPTER),
            coupled=saved.coupled,
            **as_trained(saved, origin, options),
        )
        loaded.restore(Path(folder))
        loaded.history = dict(origin.training)
        return loaded

    @property
    def unfrozen(self) -> bool:
        """Whether the next stage trains the adapter."""
        return not (self.freeze_after_first and self.stage)

    @property
    def trainable_parameters(self) -> int:
        """Fresh rows, and in the first stage the adapter; later stages train the same adapter again."""
        return super().trainable_parameters + (self.adapter.trainable_parameters if self.stage <= 1 else 0)

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        own = {"freeze_lora_after_first": self.freeze_after_first, "lora_lr": self.lora_lr}
        return super().notes | asdict(self.adapter.settings) | own

    def _objective(self, settings: FitSettings) -> Objective:
        if not self.unfrozen:
            return super()._objective(settings)
        return JointObjective(
            self.lm,
            self.adapter,
            rate=self.lora_lr / settings.lr,
            weight_decay=self.lora_weight_decay,
            renorm=self.renorm == "step",
            seed=settings.seed,
            stage=self.stage,
        )

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """As `TokMem.learn`; trains the adapter with the rows unless it is frozen."""
        learned = super().learn(procedures, train, validation, checkpoint=checkpoint, callbacks=callbacks)
        self._next_stage(self.stage + 1)
        return learned

    def _next_stage(self, stage: int) -> None:
        self.stage = stage
        if not self.unfrozen:
            self.adapter.freeze()
        self.backbone = replace(self.backbone, fingerprint=fingerprint(self.adapter.model))

    def save(self, folder: Path | str, training: Mapping[str, Any] | None = None) -> None:
        """Saves the bank in `folder`/bank and the adapter, in PEFT's format, in `folder`/adapter."""
        super().save(Path(folder) / BANK, {**(training or {}), ADAPTER: f"../{ADAPTER}"})
        self.adapter.save(Path(folder) / ADAPTER, {"stage": self.stage})

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote.

        Raises:
            AdapterError: the adapter is damaged, or of another backbone or shape.
            BankError: the bank is damaged, or of another adapter, chat format or coupling.
        """
        notes = self.adapter.load(Path(folder) / ADAPTER)
        self._next_stage(saved_stage(notes, Path(folder)))
        super().restore(Path(folder) / BANK)


def check_negatives(negatives: int, freeze_after_first: bool) -> None:
    """Refuses to keep states of a backbone that keeps changing.

    Raises:
        ConfigError: states are to be kept.
    """
    if negatives and not freeze_after_first:
        raise ConfigError(
            f"negatives {negatives} beside an adapter that trains in every stage",
            "query states of a backbone that stays as it is",
            "set negatives to 0, or freeze the adapter after the first stage",
        )


def home_of(bank: Path) -> Path | None:
    """The folder to load a bank from with `TokMemLora.load`: itself or its parent; None for a plain bank.

    Args:
        bank: a bank's folder, or one that `TokMemLora.save` wrote.

    Raises:
        BankError: the bank was trained beside an adapter that is missing.
    """
    if (bank / BANK).is_dir():
        return bank
    home = bank.resolve().parent
    if bank.resolve().name == BANK and (home / ADAPTER).is_dir():
        return home
    if ADAPTER not in load_bank(bank)[1].training:
        return None
    raise BankError(
        f"bank {bank} was trained beside an adapter, and none stands beside it",
        f"a folder that holds {BANK} and {ADAPTER}",
        f"put it as {BANK} into a copy of the folder that it comes from",
    )


def _build(setup: Setup, own: TokMemLoraSettings) -> Method:
    return TokMemLora(
        setup.backbone,
        coupled=own.coupled,
        freeze_after_first=own.freeze_after_first,
        lora=adapter_shape_of(own),
        lora_lr=own.lora_lr,
        lora_weight_decay=own.lora_weight_decay,
        **own.options(setup),
    )


def _check(setup: Setup, own: TokMemLoraSettings, procedures: Sequence[Procedure]) -> None:
    check_adapter(setup, own, procedures)
    check_grammars(setup, own, procedures)


# No experiment names it: the compositional track chooses it for an adapter that trains beside memory tokens.
SPEC = MethodSpec(
    "tokmem_lora",
    TokMemLora,
    TokMemLoraSettings,
    _build,
    variable={},
    sections=("lora", "adaptation", ""),
    rates="rates",
    check=_check,
)
