"""A bank as an ordinary LoRA adapter of rank K: one-hot factors choose the rows, the others change them."""

from __future__ import annotations

from pathlib import Path

import torch

from tokmem.export.adapter import check_rows, module_names, short_names, write_adapter
from tokmem.export.model import output_head
from tokmem.export.tokenizer import write_tokenizer
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import input_embedding

ABOUT = """A LoRA adapter whose rank is the number of procedures. Load the backbone with transformers, and
this folder upon it with `peft.PeftModel.from_pretrained(model, folder)`, or give it to an engine that loads
LoRA adapters on embeddings and head; the tokenizer is this folder's. The adapter holds *differences* to the
weights with the fingerprint below, so on other weights it means nothing."""


@torch.no_grad()
def write(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> None:
    """Writes adapter and tokenizer.

    Letters: K procedures, V rows of the backbone, d hidden size.

    Raises:
        ExportError: a row is past the backbone's end.
    """
    check_rows(memory, vocabulary)
    from peft import LoraConfig

    model, bank = memory.backbone.model, memory.bank
    inputs, outputs = input_embedding(model).weight.float(), output_head(model).weight.float()
    ids = torch.tensor(list(vocabulary.ids.values()), device=inputs.device)
    count = len(ids)
    chosen = inputs.new_zeros(count, len(inputs))  # (K, V)
    chosen[torch.arange(count), ids] = 1
    steering, address = bank.steering.rows()[bank.head_slots], bank.addresses()
    embedding, head = names = module_names(memory)
    tensors = {
        f"{embedding}.lora_embedding_A": chosen,
        f"{embedding}.lora_embedding_B": (steering - inputs[ids]).T,
        f"{head}.lora_A.weight": address - outputs[ids],
        f"{head}.lora_B.weight": chosen.T,
    }
    config = LoraConfig(
        r=count,
        lora_alpha=count,
        lora_dropout=0.0,
        bias="none",
        target_modules=short_names(names),
        task_type="CAUSAL_LM",
        base_model_name_or_path=memory.backbone.id,
        inference_mode=True,
    )
    write_adapter(folder, config, tensors)
    write_tokenizer(memory, vocabulary, folder)
