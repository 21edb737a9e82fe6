"""`tokmem serve`: starts an inference engine on a bank."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tokmem.cli.flags import Flags, given
from tokmem.cli.memory import FASTEST, OF_BANK, bank_itself, open_memory
from tokmem.cli.shared import command_line, console

if TYPE_CHECKING:  # importing it takes seconds
    from tokmem.serving.server import Server

EXAMPLE = "tokmem serve runs/train --port 8080"
FLAGS = Flags("atomic", keys=("backbone.*",), defaults=OF_BANK | FASTEST)


def serve(
    ctx: typer.Context,
    bank: Annotated[
        Path, typer.Argument(metavar="BANK", help="Folder of a bank, or of an export.", callback=bank_itself)
    ],
    engine: Annotated[
        Literal["llama.cpp", "transformers"] | None,
        typer.Option(
            help="llama.cpp: its server, on --to gguf; transformers: `transformers serve`, on --to hf. "
            "\\[default: the first that is installed and can read the bank]"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the loopback; 0 finds one.")] = 8080,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the export. \\[default: in the user's cache]")
    ] = None,
    gguf: Annotated[
        Path | None,
        typer.Option(help="The GGUF file that the backbone comes from. \\[default: a named backbone's]"),
    ] = None,
    check: Annotated[bool, typer.Option(help="Compare a new export with the bank.")] = True,
) -> None:
    """Serve a bank to any client of chat completions, on this machine alone.

    Exports the bank, starts an engine on the export, and waits until it answers. An interrupt ends it.
    """
    from tokmem.serving.exported import export_for
    from tokmem.serving.server import choose_port, serving

    try:
        port = choose_port(port)  # before the work of an export
        settings = given(ctx)
        chosen, folder = export_for(
            engine,
            bank,
            lambda: open_memory(bank, settings, None),
            settings=settings,
            out=out,
            gguf=gguf,
            check=check,
        )
        log = folder.with_name(f"{folder.name}.{chosen.name}-{port}.log")  # another server may run
        with serving(chosen, folder, log, port) as server:
            _show(server, bank, folder)
            server.wait()
    except KeyboardInterrupt:
        console().print("stopped", markup=False)


def _show(server: Server, bank: Path, folder: Path) -> None:
    """Prints how to ask the server."""
    from tokmem.serving.exported import export_kind

    asked = {"model": server.model, "messages": [{"role": "user", "content": "Hello"}]}
    lines = [
        f"{server.engine.name} serves {folder} at {server.url}; its messages are in {server.log}",
        "",
        f"curl {server.url}/chat/completions -H 'Content-Type: application/json' "
        f"-d {quote(json.dumps(asked))}",
        f'OpenAI(base_url="{server.url}", api_key="none").chat.completions.create('
        f"model={server.model!r}, messages={asked['messages']!r})",
        command_line("recall", *([] if export_kind(bank) else [bank]), "Hello", "--url", server.url),
        "",
        "Ctrl-C ends it.",
    ]
    console().print("\n".join(lines), markup=False)
