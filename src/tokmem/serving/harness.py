"""A bank as a model of lm-evaluation-harness.

`python -m tokmem.serving.harness` takes the command line of `lm-eval`, and knows the model `tokmem` besides:
`--model tokmem --model_args bank=FOLDER`, or `backbone=NAME` for the backbone without a bank.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokmem.bank.store import load_bank
from tokmem.errors import ServingError
from tokmem.export.apply import apply
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import DTypeName, load_backbone

NAME = "tokmem"


def plain(
    bank: str | None, backbone: str | None, dtype: DTypeName, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads what the harness evaluates: a model and its tokenizer, which need nothing of TokMem.

    Args:
        bank: folder of a bank; None takes the backbone alone.
        backbone: its name; None takes the bank's.
        dtype: of the weights.
        device: where they go.

    Raises:
        ServingError: neither a bank nor a backbone is named.
        ExportError: a plain model cannot carry the bank.
    """
    if bank is None and backbone is None:
        raise ServingError("neither bank nor backbone", "one of them", "give --model_args bank=FOLDER")
    name = backbone or load_bank(Path(str(bank)))[1].backbone
    loaded = load_backbone(name, device=device, dtype=dtype)
    return (loaded.model, loaded.tokenizer) if bank is None else apply(TokMem.load(bank, loaded))


def register() -> None:
    """Names the model `tokmem` in the harness's registry.

    Raises:
        ServingError: the harness is not installed.
    """
    if find_spec("lm_eval") is None:
        raise ServingError("no package lm_eval", "tokmem with its extra", "pip install 'tokmem[serving]'")
    from lm_eval.api.registry import model_registry
    from lm_eval.models.huggingface import HFLM

    class BankLM(HFLM):  # type: ignore[misc]
        """The harness's own model of transformers, on a bank's plain model."""

        def __init__(
            self,
            bank: str | None = None,
            backbone: str | None = None,
            dtype: str = "auto",
            device: str | None = None,
            **options: Any,
        ) -> None:
            model, tokenizer = plain(bank, backbone, cast(DTypeName, dtype), device or "auto")
            super().__init__(pretrained=model, tokenizer=tokenizer, **options)

    if NAME not in model_registry:
        model_registry.register(NAME, target=BankLM)


def main() -> None:
    """Runs the harness's command line."""
    register()
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
