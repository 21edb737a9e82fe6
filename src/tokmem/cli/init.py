"""`tokmem init`: writes a small corpus, an experiment to edit, and what other examples read."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from tokmem.cli.inputs import CORPUS, EXPERIMENT, FILES
from tokmem.cli.shared import command_line, console, free_folder
from tokmem.cli.train import RUN
from tokmem.config.texts import quoted
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_text

EXAMPLE = "tokmem init"
_QUERY = "Can I get three pizzas and one tea?"


def init(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the files; made if there is none.", show_default="this folder")
    ] = Path(),
) -> None:
    """Write a small corpus of three everyday procedures, and an experiment, both to edit.

    It also writes queries, a prompt (for `tokmem learn`), examples of a fourth procedure (for `tokmem bank
    add`), and examples that need two procedures (for `tokmem bank compose`). Existing files are never
    overwritten. The last lines name the next two commands.
    """
    written = [folder / name for name in FILES]
    for path in written:
        if path.exists():
            raise ConfigError(f"{path} exists already", "a folder without it", "name another folder")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", "a folder", "name another one")
    for path in written:
        atomic_write_text(path, _text(path.name, folder))
    out = console()
    out.print(f"Wrote {', '.join(map(str, written))}.", markup=False)
    out.print(f"Learn:   {command_line('train', folder / CORPUS)}", markup=False)
    out.print(f"Recall:  {command_line('recall', free_folder(RUN), _QUERY)}", markup=False)


def _text(name: str, folder: Path) -> str:
    """Reads a starter file; the experiment names the files of its folder."""
    text = (files("tokmem.cli") / "starter" / name).read_text("utf-8")
    if name != EXPERIMENT:
        return text
    return text.format(experiment=shlex.quote(str(folder / name)), corpus=quoted(str(folder / CORPUS)))
