"""`tokmem export`: writes a bank in a form that engines serve as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tokmem.cli.flags import Flags, given
from tokmem.cli.memory import OF_BANK, BankFolder, open_memory
from tokmem.cli.shared import console
from tokmem.records import counted

EXAMPLE = "tokmem export runs/train --to hf --out runs/served"
FLAGS = Flags("atomic", keys=("backbone.*",), defaults=OF_BANK)


To = Literal["hf", "peft", "lora", "gguf"]
Spelled = Literal["mistral", "hermes", "private"]


def export(
    ctx: typer.Context,
    bank: BankFolder,
    to: Annotated[
        To,
        typer.Option(
            help="hf: a plain Hugging Face folder; peft: trainable tokens of PEFT; lora: a LoRA adapter; "
            "gguf: the backbone's GGUF file with the bank in it."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the export.")],
    spelling: Annotated[
        Spelled | None, typer.Option(help="How tools are spelled. \\[default: the one that fits the bank]")
    ] = None,
    gguf: Annotated[
        Path | None,
        typer.Option(
            help="For --to gguf: the file that the backbone comes from. \\[default: a named backbone's]"
        ),
    ] = None,
    weights: Annotated[
        Literal["F16", "Q8_0"] | None,
        typer.Option(
            help="For --to gguf: the type that all matrices get. \\[default: they keep their bytes]"
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Load the export and compare it with the bank.")] = True,
) -> None:
    """Write a bank in a form that engines serve as it is.

    Each procedure becomes a row of the vocabulary. A tool's token reads as the start of a call, so that an
    engine's own parser finds it; docs/serving.md says how to start the engines.
    """
    from tokmem.export import export as write

    memory = open_memory(bank, {"backbone.dtype": "auto", **given(ctx)}, None)
    made = write(memory, out, to=to, spelling=spelling, source=gguf, weights=weights, check=check)
    exact = "not checked" if made.difference is None else f"logits differ by at most {made.difference:.1g}"
    console().print(f"{counted(len(made.texts))} in {made.folder} ({made.kind}); {exact}", markup=False)
