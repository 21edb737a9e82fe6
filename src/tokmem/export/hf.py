"""A bank and its backbone as a plain Hugging Face folder, which needs no TokMem."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tokmem.export.checks import check_logits, check_parsing, check_prompts, check_tokens
from tokmem.export.model import plain_model
from tokmem.export.tokenizer import write_tokenizer
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import input_embedding

ABOUT = """A plain model of transformers: each procedure is a row of the vocabulary. Load it with
`AutoModelForCausalLM.from_pretrained`, or serve it with any engine that serves the backbone."""


def write(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> None:
    """Writes weights, tokenizer and settings."""
    plain_model(memory, vocabulary).save_pretrained(folder)
    write_tokenizer(memory, vocabulary, folder)


def check(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> float:
    """Loads the folder again and compares it with the memory.

    Returns:
        The largest difference of logits.

    Raises:
        ExportError: the export does something else than the memory.
    """
    check_tokenizer(memory, vocabulary, folder)
    weight = input_embedding(memory.backbone.model).weight
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=weight.dtype)
    return check_logits(memory, nn.Module.to(model, weight.device).eval())


def check_tokenizer(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> None:
    """Loads the tokenizer again and checks its tokens, prompts and the reading of responses.

    Raises:
        ExportError: it does something else than the memory.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    check_tokens(memory, vocabulary, tokenizer)
    check_prompts(memory, vocabulary, tokenizer)
    check_parsing(memory, vocabulary, tokenizer)
