"""A saved bank on its backbone, as a command's options say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokmem.cli import options as o
from tokmem.cli.shared import load, own_backbone

if TYPE_CHECKING:
    from tokmem.methods.tokmem import TokMem


def open_memory(bank: Path, given: Mapping[str, Any], **recall: Any) -> TokMem:
    """The bank, with its adapter where it was trained beside one.

    Args:
        bank: its folder.
        given: options of model, `prompt` and `max_length`; what is None is as the bank was trained with.
        recall: settings of recall.

    Raises:
        TokMemError: bank or backbone cannot be loaded, or do not belong together.
    """
    from tokmem.bank.store import load_bank
    from tokmem.methods.tokmem import TokMem
    from tokmem.methods.tokmem_lora import BANK, TokMemLora, home_of
    from tokmem.recall.settings import RecallSettings

    home = home_of(bank)
    _, origin = load_bank(home / BANK if home else bank)
    model = given["model_name"] or own_backbone(bank, origin.backbone)
    backbone = load(o.backbone_config({**given, "model_name": model}))
    options = {name: given[name] for name in ("prompt", "max_length") if given[name] is not None}
    kind = TokMemLora if home else TokMem
    return kind.load(home or bank, backbone, recall=RecallSettings(**recall), **options)
