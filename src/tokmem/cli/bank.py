"""`tokmem bank`: shows banks, and edits them in place or into a new folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli.flags import Flags, given, training_given
from tokmem.cli.inputs import input_file
from tokmem.cli.launched import locked
from tokmem.cli.memory import FASTEST, FITTING, BankFolder, bank_config, bank_itself, memory_of
from tokmem.cli.shared import console, load, show_json, show_table
from tokmem.errors import BankError, ConfigError, DataError
from tokmem.records import Procedure

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.bank.bank import Bank
    from tokmem.bank.facts import Origin

app = typer.Typer(
    name="bank",
    no_args_is_help=True,
    help="List, show, add, compose, remove, rename, merge and slice procedures.",
)

Names = Annotated[list[str], typer.Argument(help="Procedures.")]
InPlace = Annotated[
    Path | None, typer.Option("--out", help="Folder of the new bank. \\[default: the bank itself]")
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the new bank.")]
ADD_EXAMPLE = "tokmem bank add runs/train --name weekday --examples weekday.jsonl --out runs/larger"
MERGE_EXAMPLE = (
    "tokmem bank slice runs/train ticket_topic --out runs/one && "
    "tokmem bank slice runs/train message_sender --out runs/other && "
    "tokmem bank merge runs/one runs/other --out runs/both"
)
FLAGS = Flags(
    "atomic",
    keys=("start", "width", "backbone.*", "training.*"),
    defaults={"start": "description", "backbone.model_name": "the bank's", **FASTEST, **FITTING},
)
COMPOSE_EXAMPLE = "tokmem bank compose runs/train both --examples both.jsonl --out runs/composed"
COMPOSE_FLAGS = Flags(
    "atomic",
    keys=("backbone.*", "training.*"),
    defaults={"backbone.model_name": "the bank's", **FASTEST, **FITTING},
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_(folder: BankFolder, json: Json = False) -> None:
    """List a bank's procedures and their token ids."""
    from tokmem.bank.facts import read_facts
    from tokmem.report.banks import bank_line, bank_records, bank_table

    facts = read_facts(folder)
    if json:
        show_json(bank_records(facts))
        return
    show_table(bank_table(facts), ("procedure",))
    console().print(bank_line(facts), markup=False)


def show(
    folder: BankFolder,
    name: Annotated[str, typer.Argument(help="A procedure.")],
    neighbours: Annotated[int, typer.Option(min=0, help="How many of the nearest others.")] = 5,
) -> None:
    """Show one procedure: its rows' norms, and its nearest neighbours by cosine of addresses."""
    from tokmem.report.banks import nearest_table, procedure_facts

    bank, _ = _load(folder)
    for label, text in procedure_facts(bank, name):
        console().print(f"{label:>13}  {text}", markup=False)
    nearest = nearest_table(bank, name, neighbours)
    if nearest.rows:
        show_table(nearest)


def add(
    ctx: typer.Context,
    folder: BankFolder,
    name: Annotated[str | None, typer.Option(help="Name of a new procedure.")] = None,
    description: Annotated[str, typer.Option(help="What it does, in a sentence.")] = "",
    procedures: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines with name, description and parameters, for several.", callback=input_file
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(help="JSON lines of examples to train the new procedures on.", callback=input_file),
    ] = None,
    out: InPlace = None,
) -> None:
    """Add procedures to a bank: rows start from descriptions, and train if there are examples."""
    new = _new_procedures(name, description, procedures)
    _refuse_unread(given(ctx), examples)
    bank, origin = _load(folder)
    if examples is not None:
        _require_examples({procedure.name for procedure in new}, name, examples)
    elif bank.statistics is not None:
        raise ConfigError(f"a bank that computes its addresses, {folder}", "--examples of each procedure")
    config = bank_config(folder, origin, {"start": "description", **given(ctx)})
    backbone = load(config.backbone)
    with locked(out or folder):
        memory = memory_of(folder, backbone, start=config.start, width=config.width)
        memory.add(new)
        if examples is not None:
            memory.fit(examples, procedure=name, **training_given(config, given(ctx)))
        _save(memory.bank, out or folder, replace(origin, training=memory.history), folder)


def compose(
    ctx: typer.Context,
    folder: BankFolder,
    name: Annotated[str, typer.Argument(help="The new composition token.")],
    examples: Annotated[
        Path,
        typer.Option(
            help="JSON lines with `query` and `turns`: the procedures, with the response in the last turn.",
            callback=input_file,
        ),
    ],
    out: InPlace = None,
) -> None:
    """Train a composition token, which joins the procedures before it in one response."""
    from tokmem.methods.composition import composed, read_pairs

    bank, origin = _load(folder)
    pairs = read_pairs(examples)
    composed(name, pairs, bank)  # so that wrong pairs are refused before the backbone loads
    config = bank_config(folder, origin, given(ctx))
    with locked(out or folder):
        memory = memory_of(folder, load(config.backbone))
        memory.compose(name, pairs, **training_given(config, given(ctx)))
        _save(memory.bank, out or folder, replace(origin, training=memory.history), folder)


def _require_examples(new: set[str], name: str | None, file: Path) -> None:
    """Refuses a file that lacks examples of a new procedure, or has some of another.

    Args:
        new: names of the new procedures.
        name: what rows are of that name none.
        file: the examples.
    """
    from tokmem.data.coerce import as_examples

    found = {turn.procedure for example in as_examples(file, (), name) for turn in example.turns}
    if found != new:
        raise DataError(
            f"examples of {', '.join(sorted(found))} in {file}",
            f"examples of what is added: {', '.join(sorted(new))}",
            "check the names",
        )


def _refuse_unread(settings: dict[str, str], examples: Path | None) -> None:
    """Refuses options of training if there is nothing to train on."""
    stray = next((key for key in settings if key.startswith("training.")), None)
    if examples is None and stray is not None:
        got = f"{FLAGS.options()[stray]} without --examples"
        raise ConfigError(got, "both", "leave it out, or give examples to train on")


def _new_procedures(name: str | None, description: str, file: Path | None) -> list[Procedure]:
    """Reads the procedures to add, and checks their schemas."""
    from tokmem.data import read_procedures
    from tokmem.data.calls.schema_check import check_schema

    if (name is None) == (file is None):
        raise ConfigError("neither --name nor --procedures, or both", "one of them")
    if file is not None and description:
        raise ConfigError("--description beside --procedures", "descriptions in the file", "leave it out")
    new = [Procedure(name or "", description)] if file is None else list(read_procedures(file))
    if not new:
        raise DataError(f"no procedures in {file}", "one JSON object a line")
    for procedure in new:
        check_schema(procedure)
    return new


def remove(folder: BankFolder, names: Names, out: InPlace = None) -> None:
    """Remove procedures from a bank; their token ids are never given again."""
    with _edited(folder, out) as bank:
        bank.remove(names)


def rename(
    folder: BankFolder,
    old: Annotated[str, typer.Argument(help="Its name.")],
    new: Annotated[str, typer.Argument(help="Its new name.")],
    out: InPlace = None,
) -> None:
    """Rename a procedure; its rows and token ids stay."""
    with _edited(folder, out) as bank:
        bank.rename(old, new)


def slice_(folder: BankFolder, names: Names, out: Out) -> None:
    """Make a bank of some of the procedures, rows and token ids unchanged."""
    with locked(out):
        bank, origin = _load(folder)
        _save(bank.slice(names), out, origin, folder)


def merge(
    folder: BankFolder,
    other: Annotated[Path, typer.Argument(help="Folder of another bank.", callback=bank_itself)],
    out: Out,
) -> None:
    """Merge two banks of one backbone; clashing token ids of the second are given again."""
    with locked(out):
        bank, origin = _load(folder)
        same = {name: getattr(origin, name) for name in ("fingerprint", "chat", "configuration")}
        second, second_origin = _load(other, **same)
        bank.merge(second)
        _save(bank, out, origin.merged(second_origin), folder, other)


@contextmanager
def _edited(folder: Path, out: Path | None) -> Iterator[Bank]:
    """Gives a bank to change, and saves it after the block. Another editor of the bank waits."""
    with locked(out or folder):
        bank, origin = _load(folder)
        yield bank
        _save(bank, out or folder, origin, folder)


def _load(folder: Path, **same: Any) -> tuple[Bank, Origin]:
    from tokmem.bank.store import load_bank

    return load_bank(folder, **same)


def _save(bank: Bank, out: Path, origin: Origin, *inputs: Path) -> None:
    """Saves a bank; refuses a folder that exists, unless it is empty or an input."""
    from tokmem.bank.facts import with_lessons_of
    from tokmem.bank.store import save_bank
    from tokmem.records import counted

    empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not empty and out.resolve() not in [folder.resolve() for folder in inputs]:
        raise BankError(f"{out} exists already", "a new folder, or that of an input", "choose another --out")
    save_bank(bank, out, replace(origin, training=with_lessons_of(origin.training, bank.names)))
    console().print(f"{counted(len(bank))} in {out}", markup=False)
