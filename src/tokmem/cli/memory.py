"""Loads a saved bank and its backbone as the options of a command say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli.flags import track_config
from tokmem.cli.shared import load
from tokmem.config import parse_yaml, read_settings
from tokmem.config.texts import quoted
from tokmem.errors import BankError, ConfigError

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.bank.facts import Origin
    from tokmem.methods.tokmem import TokMem
    from tokmem.model.backbone import Backbone

Prompt = Annotated[
    str | None,
    typer.Option(
        metavar="<name>",
        help="What a prompt holds: instruction+query, or query. \\[default: as the bank was trained]",
    ),
]
# What `--help` shows as the default of options that a bank answers itself.
OF_BANK = {"backbone.model_name": "the bank's", "max_length": "the bank's"}
FASTEST = {"backbone.dtype": "fastest for smollm2; else auto"}
# Training settings that fit the examples and the backbone unless they are given.
FITTING = {
    "training.lr": "by the size of the backbone: 0.05 for mini, 0.02 for smollm2, 0.005 for larger ones",
    "training.epochs": "as many as make 150 steps",
    "training.batch_size": "16, or as many examples as there are",
    "training.validate_every": "10 if there are many epochs, else 0",
}


def for_speed(settings: Mapping[str, str]) -> dict[str, str]:
    """Adds the fastest type of numbers for `smollm2` if none is given: its file has four bits a number."""
    from tokmem.model.catalog import SMOLLM2

    name = parse_yaml(settings.get("backbone.model_name", SMOLLM2), "--backbone")
    return {"backbone.dtype": "fastest", **settings} if name == SMOLLM2 else dict(settings)


def bank_config(bank: Path, origin: Origin, settings: Mapping[str, str]) -> Any:
    """Makes the atomic config of a command on a bank.

    Args:
        bank: its folder.
        origin: where it comes from.
        settings: atomic settings, YAML texts by key. The backbone is `backbone_of` if they name none.
    """
    own = quoted(backbone_of(bank, origin))
    return track_config("atomic", for_speed({"backbone.model_name": own, **settings}))


def backbone_of(bank: Path, origin: Origin) -> str:
    """Names the backbone of a bank.

    The folder of its run may hold an adapted copy, or name the local folder that the run loaded; a bank alone
    has the name of that folder and not its path.
    """
    run = bank.resolve().parent.parent
    for folder in (run / origin.backbone, *_loaded_by(run)):
        # `isfile` says no to a name that no system can hold; a method of Path raises OSError.
        if folder.name == origin.backbone and os.path.isfile(folder / "config.json"):
            return str(folder)
    return origin.backbone


def _loaded_by(run: Path) -> list[Path]:
    """The folder of the backbone that a run loaded, if `run` is the folder of one."""
    try:
        own = read_settings(run / "config.yaml").get("backbone")
    except ConfigError:
        return []
    name = own.get("model_name") if isinstance(own, dict) else None
    return [Path(name)] if isinstance(name, str) else []


def bank_itself(folder: Path | None) -> Path | None:
    """The folder of a bank's own files, of what a user names as a bank.

    The folder of a run stands for its only bank. A bank that was trained beside an adapter is the folder
    `bank` within the folder that holds both.

    Raises:
        BankError: there is no such folder, or it is that of a run with several banks.
    """
    if folder is None or (folder / "bank.json").is_file():
        return folder
    if not folder.is_dir():  # said before the imports, which take seconds
        do = "check the path; `tokmem train my.jsonl` makes a bank (`tokmem init` writes my.jsonl)"
        raise BankError(f"no bank.json in {folder}", "a folder written by saving a bank", do)
    if (folder / "bank" / "bank.json").is_file():
        return folder / "bank"
    found = sorted(path.parent for path in folder.glob("banks/*/**/bank.json"))
    if len(found) > 1:
        names = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        wanted = "the folder of one bank"
        raise BankError(f"{folder}, a run of {len(found)} banks", wanted, f"name one: {names}")
    return found[0] if found else folder


def newest_bank() -> Path | None:
    """The bank below `runs` that was written last."""
    found = [*Path("runs").glob("*/banks/*/bank.json")]
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


BankFolder = Annotated[
    Path,
    typer.Argument(metavar="BANK", help="Folder of a bank, or of a run with one.", callback=bank_itself),
]


def memory_of(bank: Path, backbone: Backbone, **options: Any) -> TokMem:
    """Loads a bank, and its adapter if it was trained beside one.

    Args:
        bank: its folder.
        backbone: the one that it belongs to.
        options: those of the constructor.

    Raises:
        TokMemError: bank or adapter cannot be loaded, or do not belong to the backbone.
    """
    from tokmem.methods.tokmem import TokMem
    from tokmem.methods.tokmem_lora import TokMemLora, home_of

    home = home_of(bank)
    return TokMemLora.load(home, backbone, **options) if home else TokMem.load(bank, backbone, **options)


def open_memory(bank: Path, settings: Mapping[str, str], prompt: str | None) -> TokMem:
    """Loads a bank and the backbone that it names.

    Args:
        bank: its folder.
        settings: atomic settings, YAML texts by key; those of the bank replace missing ones.
        prompt: the prompt mode; None: the bank's.

    Raises:
        TokMemError: bank or backbone cannot be loaded, or do not belong together.
    """
    from tokmem.bank.store import load_bank

    _, origin = load_bank(bank)
    prompts = {"prompts": quoted([prompt])} if prompt else {}
    config = bank_config(bank, origin, {**prompts, **settings})
    options = {"prompt": config.prompts[0]} if prompt else {}
    if "max_length" in settings:
        options["max_length"] = config.max_length
    return memory_of(bank, load(config.backbone), recall=config.recall, **options)
