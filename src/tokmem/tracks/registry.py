"""Which tracks there are. A new track is its folder and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tokmem.config import read_settings
from tokmem.errors import ConfigError
from tokmem.model.backbone import Backbone
from tokmem.tracks.experiment import Experiment

# The module of each track, by `track`, or `track/task` for a track with several tasks. A module has CONFIG,
# the config class, and `prepare`. The first task of a track is its default.
MODULES = {
    "atomic": "tokmem.tracks.atomic",
    "compositional": "tokmem.tracks.compositional",
    "capacity/memorise": "tokmem.tracks.memorise",
    "capacity/reason": "tokmem.tracks.reason",
    "distil": "tokmem.tracks.distil",
}


@dataclass(frozen=True)
class Track:
    """A track.

    Attributes:
        name: of the track, without the task.
        config: its config class.
        prepare: makes an experiment of a config, the run's folder and a backbone.
    """

    name: str
    config: type[Any]
    prepare: Callable[[Any, Path, Backbone], Experiment]


def track(name: str, task: str | None = None) -> Track:
    """The track of a name, and of a task if it has several (None: the first); imports its module.

    Raises:
        ConfigError: there is no track of that name.
    """
    tasks = {key: module for key, module in MODULES.items() if key.partition("/")[0] == name}
    if not tasks:
        names = dict.fromkeys(key.partition("/")[0] for key in MODULES)
        raise ConfigError(f"track {name!r}", f"one of {', '.join(names)}", "correct `track`")
    first = next(iter(tasks))
    chosen = first if task is None or first == name else f"{name}/{task}"
    if chosen not in tasks:
        wanted = ", ".join(key.partition("/")[2] for key in tasks)
        raise ConfigError(f"task {task!r} of track {name}", f"one of {wanted}", "correct `task`")
    module = import_module(tasks[chosen])
    return Track(name, module.CONFIG, module.prepare)


def track_of_config(config: Any) -> Track:
    """The track that a config belongs to."""
    return track(config.track, getattr(config, "task", None))


def track_of(experiment: Path) -> Track:
    """Finds the track that an experiment file names; a file that names none is atomic.

    Raises:
        ConfigError: the file cannot be read, or there is no such track.
    """
    settings = read_settings(experiment)
    task = settings.get("task")
    return track(str(settings.get("track", "atomic")), None if task is None else str(task))
