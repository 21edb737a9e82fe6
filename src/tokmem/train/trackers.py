"""Sends what happens in training to an experiment tracker, through the trackers of accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokmem.errors import ConfigError
from tokmem.log import Callback
from tokmem.train.settings import FitSettings, TrackerName

FOLDER = Path("runs/trackers")


def trackers(settings: FitSettings) -> list[Callback]:
    """Makes a callback for each tracker that the settings name.

    Raises:
        ConfigError: the package of a tracker is missing.
    """
    return [Tracker(name, settings) for name in settings.report_to]


class Tracker(Callback):
    """Sends losses, rate and speed of each step to one tracker; the run is named by the time it began.

    Args:
        name: tensorboard (which writes below `FOLDER`), trackio, or wandb.
        settings: of the training; the tracker keeps them beside the run.

    Raises:
        ConfigError: the tracker's package is missing.
    """

    def __init__(self, name: TrackerName, settings: FitSettings) -> None:
        if find_spec(name) is None:
            raise ConfigError(
                f"report_to {name}, which is not installed", "an installed tracker", f"pip install {name}"
            )
        self.name, self.settings = name, settings
        self.inner: Any = None

    def on_begin(self, step: int, steps: int) -> None:
        """Opens the tracker's run."""
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        run, kind = f"{datetime.now():%Y-%m-%d %H-%M-%S}", LOGGER_TYPE_TO_CLASS[self.name]
        if self.name == "tensorboard":
            self.inner = kind(run, FOLDER)
        else:
            self.inner = kind("tokmem", name=run)
        self.inner.start()
        self.inner.store_init_configuration(
            {name: _plain(value) for name, value in asdict(self.settings).items()}
        )

    def on_step(self, step: int, values: Mapping[str, Any]) -> None:
        """Sends the numbers of a step; those of its speed under their own names."""
        numbers = {**values, **values.get("speed", {})}
        self.inner.log(
            {name: one for name, one in numbers.items() if isinstance(one, (int, float))}, step=step
        )

    def on_validation(self, step: int, loss: float) -> None:
        """Sends the loss of a validation."""
        self.inner.log({"validation_loss": loss}, step=step)

    def on_end(self, step: int) -> None:
        """Closes the run."""
        inner, self.inner = self.inner, None
        if inner is not None:
            inner.finish()

    on_failure = on_end


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float)) else str(value)
