"""An example of a new track: it counts to each of several numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokmem.config import Config, setting
from tokmem.model.backbone import Backbone
from tokmem.model.settings import BackboneConfig
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.progress import rows_once


@dataclass(frozen=True)
class ToyConfig(Config):
    """How far to count."""

    track: Literal["toy"] = setting("toy", "the track")
    name: str = setting("toy", "names the run")
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    seeds: tuple[int, ...] = setting((0,), "seeds")
    numbers: tuple[int, ...] = setting((2, 3), "to count to")


class Counting(Experiment):
    """A part for each number."""

    checksum = "none"

    def __init__(self, config: ToyConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.parts = config, folder, config.numbers

    def run(self, part: int) -> list[dict[str, Any]]:
        """Counts."""
        return rows_once(self.folder, str(part), lambda: [{"number": part, "sum": sum(range(part))}])

    def summarise(self, results: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """All sums."""
        return {"rows": [row for rows in results for row in rows]}


CONFIG, prepare = ToyConfig, Counting
