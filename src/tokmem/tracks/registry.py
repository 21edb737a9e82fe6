"""Which tracks there are: what an experiment file may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tokmem.config import read_settings
from tokmem.errors import ConfigError

MODULES = {
    "atomic": "tokmem.tracks.atomic",
    "compositional": "tokmem.tracks.compositional",
    "capacity": "tokmem.tracks.capacity",
}


@dataclass(frozen=True)
class Track:
    """A track: its config class, and what runs a config into a folder."""

    name: str
    config: type[Any]
    run: Callable[..., dict[str, Any]]


def track(name: str) -> Track:
    """The track of a name; its module is imported only now. Each has `CONFIG` and `run`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in MODULES:
        raise ConfigError(f"track {name!r}", f"one of {', '.join(MODULES)}", "correct `track`")
    module = import_module(MODULES[name])
    return Track(name, module.CONFIG, module.run)


def track_of(experiment: Path) -> Track:
    """Finds the track that an experiment file names; a file that names none is atomic.

    Raises:
        ConfigError: the file cannot be read, or there is no such track.
    """
    return track(str(read_settings(experiment).get("track", "atomic")))
