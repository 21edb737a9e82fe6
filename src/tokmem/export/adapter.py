"""What both forms of adapters share: they are files of PEFT beside the backbone that the bank belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tokmem.errors import ExportError
from tokmem.export.checks import check_logits
from tokmem.export.hf import check_tokenizer
from tokmem.export.model import output_head, shared_copy
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import input_embedding

if TYPE_CHECKING:
    from peft import PeftConfig

WEIGHTS = "adapter_model.safetensors"


def check_rows(memory: TokMem, vocabulary: Vocabulary) -> None:
    """Checks that PEFT is installed and that the backbone has all rows: an adapter cannot add any.

    Raises:
        ExportError: it is not, or a memory token has an id past the backbone's end.
    """
    if find_spec("peft") is None:
        raise ExportError("no package peft", "tokmem with its extra", "pip install 'tokmem[peft]'")
    if past := vocabulary.past_end:
        raise ExportError(
            f"procedure {past[0]!r} and {len(past) - 1} more with ids past the {vocabulary.old} rows of "
            f"{memory.backbone.id}",
            "memory tokens on spare rows of the backbone: an adapter changes rows, and adds none",
            "export with --to hf, or train the bank with id policy 'spare'",
        )


def module_names(memory: TokMem) -> tuple[str, str]:
    """Full names of the input embedding and of the output head within the backbone."""
    model = memory.backbone.model
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[input_embedding(model)], names[output_head(model)]


def short_names(names: Sequence[str]) -> list[str]:
    """Last parts of modules' names, by which PEFT finds them."""
    return [name.rpartition(".")[2] for name in names]


def write_adapter(folder: Path, config: PeftConfig, tensors: Mapping[str, Tensor]) -> None:
    """Writes settings and tensors of an adapter; tensors have their names within the backbone."""
    config.save_pretrained(str(folder))
    held = {
        # Copies: safetensors refuses tensors that share memory, as a matrix of one row and its transpose do.
        f"base_model.model.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    save_file(held, folder / WEIGHTS)


def check(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> float:
    """Loads the adapter on a copy of the backbone that shares its weights, and compares it with the memory.

    Returns:
        The largest difference of logits.

    Raises:
        ExportError: the export does something else than the memory.
    """
    from peft import PeftModel

    check_tokenizer(memory, vocabulary, folder)
    model = PeftModel.from_pretrained(shared_copy(memory.backbone.model), folder)
    return check_logits(memory, model.eval())
