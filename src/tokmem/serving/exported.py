"""The export that a server reads: one a bank and form, kept in the user's cache until the bank changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from tokmem import __version__
from tokmem.bank.store import load_bank
from tokmem.errors import ServingError
from tokmem.export.card import FACTS
from tokmem.export.write import Kind, export
from tokmem.files import atomic_write_json, cache_folder, read_json
from tokmem.methods.tokmem import TokMem
from tokmem.model.catalog import CATALOG
from tokmem.serving.engines import Engine, choose_engine

_SOURCE = "source.json"


def export_kind(folder: Path) -> Kind | None:
    """The form of an export; None if the folder is none.

    Raises:
        ServingError: the folder is an export, and its facts do not say of which form.
    """
    if not (folder / FACTS).is_file():
        return None
    kind = read_json(folder / FACTS, dict, "export the bank again").get("kind")
    if kind not in get_args(Kind):
        wanted = f"one of {', '.join(get_args(Kind))}"
        raise ServingError(f"{folder / FACTS} with kind {kind!r:.40}", wanted, "export the bank again")
    return cast(Kind, kind)


def export_for(
    engine: str | None,
    bank: Path,
    load: Callable[[], TokMem],
    *,
    settings: Mapping[str, str],
    out: Path | None = None,
    gguf: Path | None = None,
    check: bool = True,
) -> tuple[Engine, Path]:
    """Chooses an engine for a bank, and exports the bank for it; an export is served as it is.

    Args:
        engine: its name; None takes the first that is installed and can read the bank.
        bank: folder of a bank, or of an export.
        load: loads the memory; called only if it has to be exported.
        settings: how the backbone is loaded.
        out: folder of the export; None keeps it in the user's cache.
        gguf: the GGUF file that the backbone comes from; None takes that of a named backbone.
        check: whether to compare a new export with the bank.

    Raises:
        ServingError: no engine can serve the bank.
        ExportError: the form of the engine cannot carry the bank.
    """
    if kind := export_kind(bank):
        if out or gguf or settings:
            raise ServingError(
                f"options of an export beside {bank}, which is one",
                "options of the engine alone",
                "leave out --out, --gguf and those of the backbone, or name the bank",
            )
        return choose_engine(engine, (kind,)), bank.resolve()
    named = CATALOG.get(load_bank(bank)[1].backbone)
    packed = gguf or (named and named.wheel)  # a GGUF export needs the GGUF file of the backbone
    chosen = choose_engine(engine, ("gguf", "hf") if packed else ("hf",))
    options: dict[str, Any] = {"check": check}
    if chosen.form == "gguf" and gguf:
        options["source"] = gguf
    if out is None:
        return chosen, cached_export(bank, chosen.form, settings, load, **options)
    export(load(), out, to=chosen.form, **options)
    return chosen, out.resolve()


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
    folder, source = home / _plain(bank.resolve().name), home / _SOURCE
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


def _plain(name: str) -> str:
    """A name that every engine takes for its model: no `@`, and no dash at its start."""
    return re.sub(r"^-|[^\w.-]", "_", name)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
