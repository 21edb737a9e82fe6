"""`tokmem ui`: a page in the browser to try a bank."""

from __future__ import annotations

from typing import Annotated

import typer

from tokmem.cli.flags import Flags, given
from tokmem.cli.memory import FASTEST, OF_BANK, BankFolder, Prompt, open_memory
from tokmem.cli.shared import console

EXAMPLE = "tokmem ui runs/train"
FLAGS = Flags(
    "atomic",
    keys=("recall.reject", "recall.max_new_tokens", "backbone.*", "max_length"),
    defaults=OF_BANK | FASTEST,
)


def ui(
    ctx: typer.Context,
    bank: BankFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
    prompt: Prompt = None,
) -> None:
    """Open a page to try a bank: ask, see the routing, compare with the prompt, add or remove procedures.

    Beside the memory's answer stand two of the bare model: with the recalled procedure described in the
    prompt, and without.

    Only this machine can reach the page. Changes are written when the page's Save is pressed. Ctrl-C ends.
    """
    from tokmem.methods.tokmem_lora import home_of
    from tokmem.playground.server import HOST, make_server
    from tokmem.playground.session import Session
    from tokmem.serving.server import choose_port

    port = choose_port(port)  # before the backbone loads
    memory = open_memory(bank, given(ctx), prompt)
    session = Session(memory, home_of(bank) or bank)
    with make_server(session, port) as server:
        console().print(f"Open http://{HOST}:{server.server_port} (Ctrl-C ends)", markup=False)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console().print("stopped; changes were not saved" if session.changed else "stopped", markup=False)
