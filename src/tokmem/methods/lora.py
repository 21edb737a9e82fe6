"""Fine-tuning: every stage trains the whole LoRA adapter, without examples of earlier stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokmem.log import Callbacks
from tokmem.methods.adapted import Adapted, FineTuningSettings, check_adapter
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.records import Example, Procedure


class LoRA(Adapted):
    """LoRA fine-tuning; see `Adapted` for its options."""

    name = "lora"

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Trains the whole adapter on the stage's examples; nothing protects what earlier stages taught it.

        Raises:
            DataError: an example has several turns, or cannot be made to fit.
            TrainingError: there are no examples, or training failed.
        """
        return self._learn(train, validation, checkpoint, callbacks)

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the adapter, in PEFT's format, and the number of the stage."""
        self._save(folder, training)

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote.

        Raises:
            AdapterError: it is damaged, or of another method, backbone, chat format or shape.
        """
        self._restore(folder)


def _build(setup: Setup, own: FineTuningSettings) -> Method:
    return LoRA(setup.backbone, **own.options(setup))


_SHAPE = ("lora_r", "lora_alpha", "lora_dropout")
SPECS = (
    MethodSpec(
        "lora",
        LoRA,
        FineTuningSettings,
        _build,
        variable={"atomic": _SHAPE, "compositional": (*_SHAPE, "reinit_lora")},
        sections=("lora",),
        rates="lora.rates",
        starts_from="lora.load_model",
        check=check_adapter,
    ),
)
