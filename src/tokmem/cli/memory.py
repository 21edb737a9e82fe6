"""Loads a saved bank and its backbone as the options of a command say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli.flags import track_config
from tokmem.cli.shared import load
from tokmem.config import parse_yaml
from tokmem.config.texts import quoted
from tokmem.errors import BankError

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.bank.facts import Origin
    from tokmem.methods.tokmem import TokMem

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
    """Names the backbone of a bank: the adapted copy in the folder of its run, if there is one."""
    adapted = bank.parent.parent / origin.backbone
    return str(adapted) if (adapted / "config.json").is_file() else origin.backbone


def open_memory(bank: Path, settings: Mapping[str, str], prompt: str | None) -> TokMem:
    """Loads a bank, and its adapter if it was trained beside one.

    Args:
        bank: its folder.
        settings: atomic settings, YAML texts by key; those of the bank replace missing ones.
        prompt: the prompt mode; None: the bank's.

    Raises:
        TokMemError: bank or backbone cannot be loaded, or do not belong together.
    """
    if not bank.is_dir():  # said before the imports, which take seconds
        raise BankError(f"no bank.json in {bank}", "a folder written by saving a bank", "check the path")

    from tokmem.bank.store import load_bank
    from tokmem.methods.tokmem import TokMem
    from tokmem.methods.tokmem_lora import BANK, TokMemLora, home_of

    home = home_of(bank)
    _, origin = load_bank(home / BANK if home else bank)
    prompts = {"prompts": quoted([prompt])} if prompt else {}
    config = bank_config(bank, origin, {**prompts, **settings})
    options = {"prompt": config.prompts[0]} if prompt else {}
    if "max_length" in settings:
        options["max_length"] = config.max_length
    kind = TokMemLora if home else TokMem
    return kind.load(home or bank, load(config.backbone), recall=config.recall, **options)
