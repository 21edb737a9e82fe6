"""The export that a server reads: one a bank and form, kept in the user's cache until the bank changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokmem import __version__
from tokmem.export.card import FACTS
from tokmem.export.write import Kind, export
from tokmem.files import atomic_write_json, cache_folder, read_json
from tokmem.methods.tokmem import TokMem

_SOURCE = "source.json"


def export_kind(folder: Path) -> Kind | None:
    """The form of an export; None if the folder is none."""
    if not (folder / FACTS).is_file():
        return None
    kind: Kind = read_json(folder / FACTS, dict, "export the bank again")["kind"]
    return kind


def cached_export(
    bank: Path, to: Kind, settings: Mapping[str, str], load: Callable[[], TokMem], **options: Any
) -> Path:
    """Returns the export of a bank in the cache; makes it if there is none of these rows and settings.

    Args:
        bank: folder of the bank.
        to: form of the export.
        settings: how the backbone is loaded.
        load: loads the memory; called only if it has to be exported.
        options: those of `export`.

    Raises:
        ExportError: the form cannot carry the bank.
        TokMemError: the disk is full.
    """
    home = cache_folder("served") / f"{_digest(str(bank.resolve()).encode())}-{to}"
    folder, source = home / bank.resolve().name, home / _SOURCE
    wanted = {
        "tokmem": __version__,
        "settings": dict(settings),
        "options": {name: str(value) for name, value in options.items()},
        "files": {path.name: _digest(path.read_bytes()) for path in sorted(bank.iterdir()) if path.is_file()},
    }
    if source.is_file() and read_json(source, dict, f"remove {home}") == wanted and export_kind(folder) == to:
        return folder
    source.unlink(missing_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    export(load(), folder, to=to, **options)
    atomic_write_json(source, wanted)
    return folder


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
