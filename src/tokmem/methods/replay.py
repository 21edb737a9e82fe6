"""Fine-tuning with experience replay: each stage also trains on examples of earlier stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.config import Config, check_least, setting
from tokmem.data.replay import Reservoir, check_ratio
from tokmem.log import Callbacks, logger
from tokmem.methods.adapted import Adapted, FineTuningSettings, check_adapter
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.model.backbone import Backbone
from tokmem.model.catalog import SMOLLM2
from tokmem.records import Example, Procedure


@dataclass(frozen=True)
class ReplaySettings(Config):
    """Experience replay."""

    continual_replay_ratio: float = setting(0.2, "replayed examples, as a share of all")
    buffer_size: int = setting(500, "examples kept of all earlier blocks")

    def __post_init__(self) -> None:
        check_ratio(self.continual_replay_ratio)
        check_least(vars(self), {"buffer_size": 1})


@dataclass(frozen=True)
class _OwnSettings(FineTuningSettings, ReplaySettings):
    """All that the method reads."""

    def __post_init__(self) -> None:
        FineTuningSettings.__post_init__(self)
        ReplaySettings.__post_init__(self)


class Replay(Adapted):
    """LoRA fine-tuning with a reservoir of earlier examples; a stage is one block.

    A block has the same examples as for every other method, each once an epoch and in the same order;
    replayed ones come on top. The first block replays nothing.

    Args:
        backbone: see `Adapted`.
        continual_replay_ratio: share of replayed examples among all that are seen, from 0 to below 1.
        buffer_size: most examples to keep of all earlier blocks, each with equal probability.
        options: see `Adapted`.

    Raises:
        ConfigError: the ratio or the size is out of range; and as `Adapted`.
    """

    name = "replay"

    def __init__(
        self,
        backbone: Backbone | str = SMOLLM2,
        *,
        continual_replay_ratio: float = 0.2,
        buffer_size: int = 500,
        **options: Any,
    ) -> None:
        check_ratio(continual_replay_ratio)
        super().__init__(backbone, **options)
        self.ratio = continual_replay_ratio
        self.reservoir = Reservoir(buffer_size, self.settings.seed)

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        return {**super().notes, "continual_replay_ratio": self.ratio, "buffer_size": self.reservoir.size}

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Trains the whole adapter on a block and on replays, then offers the block to the reservoir.

        Raises:
            DataError: an example has several turns, or cannot be made to fit.
            TrainingError: there are no examples, or training failed.
        """
        earlier = self.reservoir.examples
        learned = self._learn(train, validation, checkpoint, callbacks, earlier=earlier, ratio=self.ratio)
        self.reservoir.add(train)
        logger.info(
            "block %d: %d new and %d replayed examples; %d of %d kept for later",
            self.stage,
            learned.new_examples,
            learned.replayed_examples,
            len(earlier),
            self.reservoir.seen,
        )
        return learned

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the adapter, in PEFT's format, the reservoir and the number of the stage."""
        self._save(folder, training, buffer_size=self.reservoir.size, reservoir=self.reservoir.state())

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote.

        Raises:
            AdapterError: it is damaged, or of another method, backbone, chat format, shape or buffer size.
        """
        notes = self._restore(folder, buffer_size=self.reservoir.size)
        self.reservoir.restore(notes["reservoir"])


def _build(setup: Setup, own: _OwnSettings) -> Method:
    return Replay(
        setup.backbone,
        continual_replay_ratio=own.continual_replay_ratio,
        buffer_size=own.buffer_size,
        **own.options(setup),
    )


_SHAPE = ("lora_r", "lora_alpha", "lora_dropout")
SPECS = (
    MethodSpec(
        "replay",
        Replay,
        _OwnSettings,
        _build,
        variable={
            "atomic": (*_SHAPE, "continual_replay_ratio", "buffer_size"),
            "compositional": (*_SHAPE, "reinit_lora"),
        },
        sections=("lora", "replay"),
        rates="lora.rates",
        starts_from="lora.load_model",
        check=check_adapter,
    ),
)
