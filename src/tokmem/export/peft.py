"""A bank as PEFT's trainable tokens: K rows that replace rows of the backbone."""

from __future__ import annotations

from pathlib import Path

from tokmem.errors import ExportError
from tokmem.export.adapter import check_rows, module_names, short_names, write_adapter
from tokmem.export.model import is_tied
from tokmem.export.tokenizer import write_tokenizer
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem

ABOUT = """Trainable tokens of PEFT: rows that replace rows of the backbone. Load the backbone with
transformers, and this folder upon it with `peft.PeftModel.from_pretrained(model, folder)`; the tokenizer is
this folder's. The rows belong to the weights with the fingerprint below."""


def write(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> None:
    """Writes adapter and tokenizer.

    Raises:
        ExportError: a row is past the backbone's end, or the bank is decoupled and the backbone tied.
    """
    check_rows(memory, vocabulary)
    from peft import TrainableTokensConfig

    tied = is_tied(memory.backbone.model)
    if tied and not memory.bank.coupled:
        raise ExportError(
            f"a decoupled bank, and {memory.backbone.id}, whose embedding and head are one matrix",
            "a coupled bank or an untied backbone: PEFT replaces rows of both at once",
            "export with --to lora or --to hf",
        )
    names = module_names(memory)
    bank = memory.bank
    rows = (bank.steering.rows()[bank.head_slots], bank.addresses())
    count = 1 if tied else 2
    config = TrainableTokensConfig(
        token_indices=list(vocabulary.ids.values()),
        target_modules=None if tied else short_names(names),
        task_type="CAUSAL_LM",
        base_model_name_or_path=memory.backbone.id,
        inference_mode=True,
    )
    held = zip(names[:count], rows[:count], strict=True)
    write_adapter(folder, config, {f"{name}.trainable_tokens_delta": part for name, part in held})
    write_tokenizer(memory, vocabulary, folder)
