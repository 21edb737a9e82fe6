"""The origin of a result: versions, seed, checksums and commit. It names no machine and no person."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeGuard

from tokmem.config import dump_config, load_config, parse_yaml
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json, atomic_write_text, damaged, read_json, remove_drafts
from tokmem.installation import version_of
from tokmem.log import Metrics

_PACKAGES = ("tokmem", "torch", "transformers")
_CONFIG, _CLOCK, _DATA = "config.yaml", "clock.json", "data.json"


# How a path begins: at the root, at home, here or above, on a drive, in a file URL; or it goes up.
_LOCAL = re.compile(r"^\s*(/|~|\.{1,2}([/\\]|\s*$)|\\|[A-Za-z]:[/\\]|file:)|[/\\]\.\.([/\\]|\s*$)")


class SourceState(NamedTuple):
    """The git commit of a source tree, and whether the tree differs from it; None if unknown."""

    commit: str | None
    dirty: bool | None


def provenance(
    seed: int, data_checksum: str, backbone_fingerprint: str, device: str, backbone_source: str = ""
) -> dict[str, Any]:
    """The origin of a result, as its file states it.

    Args:
        seed: seed of the run.
        data_checksum: checksum of the data that the run read.
        backbone_fingerprint: fingerprint of the backbone's weights.
        device: torch device, such as "cuda:0"; only its kind is kept.
        backbone_source: SHA-256 of the GGUF file that the weights come from; empty if they come from none.
    """
    source = source_state(Path(__file__).parent)
    return {
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in _PACKAGES}},
        "commit": source.commit,
        "dirty": source.dirty,
        "seed": seed,
        "data_checksum": data_checksum,
        "backbone_fingerprint": backbone_fingerprint,
        **({"backbone_source_sha256": backbone_source} if backbone_source else {}),
        "device": device.partition(":")[0],
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def source_state(folder: Path) -> SourceState:
    """The commit of the git checkout that tracks the files of a folder, and whether they differ from it.

    A package that is installed inside another repository, such as in its virtual environment, is not tracked
    there and gets no commit.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not _git(folder, "ls-files", "--", "."):
        return SourceState(None, None)
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return SourceState(commit, None if changes is None else changes != "")


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command; None if git is missing or fails."""
    # A git hook exports GIT_DIR and others, which would make git answer for the hook's repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _is_of(path: Path, config: Any) -> bool:
    """Whether a file holds this config. Earlier versions do not name settings that came later."""
    if path.read_text("utf-8") == dump_config(config):
        return True
    try:
        return bool(load_config(type(config), path) == config)
    except ConfigError:
        return False


def _earlier(folder: Path) -> tuple[float, set[str]]:
    """How many seconds the run of a folder has taken so far, up to its last file, and on which devices.

    The time of its config does not count: it is written first, and a person may edit it between two parts of
    the run.
    """
    if not (folder / _CLOCK).is_file():
        return 0.0, set()
    do = f"remove {folder / _CLOCK}: wall time is counted again"
    clock = read_json(folder / _CLOCK, dict, do)
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (_CONFIG, _CLOCK))
    last = max((path.stat().st_mtime for path in files), default=0.0)
    before, began, devices = clock.get("seconds_before"), clock.get("began"), clock.get("devices", [])
    named = isinstance(devices, list) and all(isinstance(device, str) for device in devices)
    if not _is_time(before) or not _is_time(began) or not named:
        raise damaged(folder / _CLOCK, f"{clock!r:.80}", do)
    return before + max(0.0, last - began), {*devices}


def _is_time(value: object) -> TypeGuard[float]:
    """Whether a value is a number of seconds; no float holds a larger number."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _saved(config: Any) -> dict[str, str]:
    """The SHA-256 of the file that describes the bank, and the adapter, that an experiment starts from."""
    places = {
        "bank": (getattr(config, "load_task_tokens", ""), "bank.json"),
        "adapter": (getattr(getattr(config, "lora", None), "load_model", ""), "tokmem.json"),
    }
    paths = {what: Path(folder) / file for what, (folder, file) in places.items() if folder}
    return {w: hashlib.sha256(path.read_bytes()).hexdigest() for w, path in paths.items() if path.is_file()}


class RunFolder:
    """The folder of one run: config, data, metrics and summary. Its clock starts at once.

    The clock of a resumed run continues from where the run ended: `clock.json` holds the time at which the
    last part began, and the latest file in the folder shows when it ended. It also names every device that a
    part of the run used.

    Args:
        path: the folder; it is made if it is missing.
        resume: whether to continue the run in the folder.
        device: torch device of this part, such as "cuda:0"; only its kind is kept.

    Attributes:
        devices: kinds of devices of all parts, in order of name.

    Raises:
        ConfigError: the folder holds a run, and `resume` is not set.
    """

    def __init__(self, path: Path, *, resume: bool = False, device: str = "cpu") -> None:
        self.path = path
        if not resume and any((path / name).exists() for name in (_CONFIG, "metrics.jsonl", "summary.json")):
            raise ConfigError(
                f"{path} already holds a run", "a new folder", "name another one, or resume the run"
            )
        path.mkdir(parents=True, exist_ok=True)
        remove_drafts(path)
        earlier, devices = _earlier(path)
        self._started = time.monotonic() - earlier
        self.devices = sorted(devices | {device.partition(":")[0]})
        clock = {"seconds_before": round(earlier, 2), "began": time.time(), "devices": self.devices}
        atomic_write_json(path / _CLOCK, clock)

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, in seconds."""
        return time.monotonic() - self._started

    @cached_property
    def metrics(self) -> Metrics:
        """The run's metrics, open for appending."""
        return Metrics(self.path / "metrics.jsonl")

    def write_config(self, config: Any) -> None:
        """Writes the resolved config.

        Raises:
            ConfigError: the folder holds another one: a run is resumed with the settings it was begun with.
        """
        path = self.path / _CONFIG
        if path.exists() and not _is_of(path, config):
            raise ConfigError(
                f"{path} is of another experiment", "the settings of the run", "use another folder"
            )
        atomic_write_text(path, dump_config(config))

    def write_data(self, config: Any, checksum: str, fingerprint: str) -> None:
        """Writes what the run reads: `data.json`. A folder of an older version gets it when it is resumed.

        Args:
            config: names the saved knowledge that the run starts from.
            checksum: of the data.
            fingerprint: of the backbone's weights.

        Raises:
            ConfigError: the folder's results come from other data, or another backbone, bank or adapter.
            TokMemError: the file is damaged.
        """
        path, facts = self.path / _DATA, {"data": checksum, "backbone": fingerprint, **_saved(config)}
        if not path.is_file():
            atomic_write_json(path, facts)
            return
        do = f"remove {path} if the data are those of the run"
        held = read_json(path, dict, do)
        if not all(isinstance(value, str) for value in held.values()):
            raise damaged(path, f"{held!r:.80}", do)
        other = next((what for what in {**facts, **held} if held.get(what) != facts.get(what)), None)
        if other is not None:
            named = f"other {other}" if other == "data" else f"another {other}"
            raise ConfigError(
                f"{self.path} was run on {named}", f"the {other} of the run", "use another folder"
            )

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes the results of the run, with its wall time as `wall_seconds`."""
        atomic_write_json(self.path / "summary.json", {**summary, "wall_seconds": round(self.seconds, 2)})

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "metrics" in self.__dict__:
            self.metrics.close()


def public_override(override: str) -> str:
    """Masks each path of this machine in the value of a `key=value` override."""
    key, _, text = override.partition("=")
    value = parse_yaml(text, f"override {override!r}")
    masked = _masked(value)
    if masked == value:
        return override
    shown = masked if isinstance(masked, str) else json.dumps(masked, ensure_ascii=False, default=str)
    return f"{key}={shown}"


def _masked(value: Any) -> Any:
    """Masks the paths of this machine in what YAML read; a hub id or a name stays."""
    if isinstance(value, Mapping):
        return {name: _masked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_masked(entry) for entry in value]
    return "(a local path)" if isinstance(value, str) and _LOCAL.search(value) else value
