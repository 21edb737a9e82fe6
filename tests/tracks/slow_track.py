"""A track whose parts wait for a sign, so that a test can stop a machine in the middle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from tokmem.config import Config, setting
from tokmem.model.backbone import Backbone
from tokmem.model.settings import BackboneConfig
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.progress import rows_once
from tokmem.tracks.registry import MODULES


@dataclass(frozen=True)
class SlowConfig(Config):
    """Which parts, and where their signs are."""

    track: Literal["slow"] = setting("slow", "the track")
    name: str = setting("slow", "names the run")
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    seeds: tuple[int, ...] = setting((0,), "seeds")
    numbers: tuple[int, ...] = setting((1, 2, 3), "the parts; a negative one fails")
    signs: str = setting("", "folder that receives a file for each start, named by part")

    def __reduce__(self) -> tuple[Any, ...]:
        """The process that reads the config knows the track then."""
        return _known, tuple(getattr(self, one.name) for one in fields(self))


def _known(*values: Any) -> SlowConfig:
    MODULES["slow"] = __name__
    return SlowConfig(*values)


class Waiting(Experiment):
    """A part for each number."""

    checksum = "none"

    def __init__(self, config: SlowConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.parts = config, folder, config.numbers

    def run(self, part: int) -> list[dict[str, Any]]:
        """Says which machine runs the part, and waits."""
        return rows_once(self.folder, str(part), lambda: self._measure(part))

    def _measure(self, part: int) -> list[dict[str, Any]]:
        import ray

        signs = Path(self.config.signs)
        where = ray.get_runtime_context().get_node_id()
        (signs / f"{part}-{where}-{token_hex(4)}").touch()
        while not (signs / "go").exists():
            time.sleep(0.05)
        if part < 0:
            raise ValueError(f"part {part} fails")
        return [{"number": part, "square": part**2}]

    def summarise(self, results: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """All squares."""
        return {"rows": [row for rows in results for row in rows]}


CONFIG, prepare = SlowConfig, Waiting
