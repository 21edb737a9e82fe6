"""A memory as a plain model and tokenizer in memory, for pipelines of transformers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tokmem.export.engines import for_engines
from tokmem.export.model import plain_model
from tokmem.export.tokenizer import write_tokenizer
from tokmem.export.vocabulary import plan_vocabulary
from tokmem.methods.tokmem import TokMem


def apply(memory: TokMem, spelling: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Makes a plain model and its tokenizer, which need nothing of TokMem.

    They share all weights with the backbone except for the embedding and the head. The backbone itself never
    changes, so there is nothing to take off again.

    Args:
        memory: the memory.
        spelling: `mistral`, `hermes` or `private`; None takes the one that fits (see `choose_spelling`).

    Returns:
        A causal LM whose vocabulary has the memory tokens, and its tokenizer.

    Raises:
        ExportError: a plain model cannot carry the bank.
    """
    memory = for_engines(memory)
    vocabulary = plan_vocabulary(memory, spelling)
    with TemporaryDirectory() as folder:
        write_tokenizer(memory, vocabulary, Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return plain_model(memory, vocabulary), tokenizer
