"""A bank and its backbone as one plain model of transformers, which shares the backbone's weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from tokmem.errors import ExportError
from tokmem.export.probes import probes
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import input_embedding


@dataclass(frozen=True)
class Matrices:
    """The matrices of a plain model that differ from the backbone's.

    Letters: R rows, d hidden size.

    Attributes:
        inputs: (R, d) input embedding, in the backbone's dtype.
        outputs: (R, d) output head; the very same tensor if they are tied.
        bias: (R,) bias of the output head, if it has one.
    """

    inputs: Tensor
    outputs: Tensor
    bias: Tensor | None

    @property
    def tied(self) -> bool:
        """Whether inputs and outputs are one matrix."""
        return self.inputs is self.outputs


def is_tied(model: PreTrainedModel) -> bool:
    """Whether a model's input embedding and output head are one matrix."""
    return output_head(model).weight is input_embedding(model).weight


def output_head(model: PreTrainedModel) -> nn.Linear:
    """The output head.

    Raises:
        ExportError: it is no plain matrix.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise ExportError(
            f"{type(model).__name__} with a head of type {type(head).__name__}", "a linear head"
        )
    return head


@torch.no_grad()
def build_matrices(memory: TokMem, vocabulary: Vocabulary) -> Matrices:
    """Writes the bank's rows into copies of the backbone's matrices; unused new rows are never chosen."""
    model, bank = memory.backbone.model, memory.bank
    weight, head = input_embedding(model).weight, output_head(model)
    ids = torch.tensor(list(vocabulary.ids.values()), device=weight.device)
    fillers = torch.tensor(vocabulary.new_fillers, dtype=torch.long, device=weight.device)
    unlikely = least_likely(memory) if len(fillers) else 0
    steering = bank.steering.rows()[bank.head_slots]

    def extended(old: Tensor, rows: Tensor) -> Tensor:
        full = old.new_zeros(vocabulary.rows, *old.shape[1:])
        full[: len(old)] = old
        full[ids] = rows.to(old)
        full[fillers] = old[unlikely]
        return full

    inputs = extended(weight, steering)
    tied = is_tied(model) and bank.coupled
    outputs = inputs if tied else extended(head.weight, bank.addresses())
    bias = None if head.bias is None else extended(head.bias, head.bias.new_zeros(len(ids)))
    return Matrices(inputs, outputs, bias)


def least_likely(memory: TokMem) -> int:
    """The token id of the backbone whose highest logit after real prompts is the lowest.

    A copy of its row is never the most likely one: the row itself is at least as likely, and comes first.
    """
    highest: Tensor | None = None
    for probe in probes(memory):
        ids = torch.tensor([probe.ids], device=memory.backbone.device)
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        logits = memory.lm.head.native(memory.lm.hidden(ids, torch.ones_like(ids), positions)[0]).amax(0)
        highest = logits if highest is None else torch.maximum(highest, logits)
    assert highest is not None, "a bank that is not empty has probes"
    highest[memory.bank.ids_within(0, len(highest))] = torch.inf
    return int(highest.argmin())


def plain_model(memory: TokMem, vocabulary: Vocabulary) -> PreTrainedModel:
    """A plain model that reads and writes the memory tokens as vocabulary rows.

    It shares all weights with the backbone, except for the input embedding and the output head. The backbone
    itself stays as it is.
    """
    model, matrices = shared_copy(memory.backbone.model), build_matrices(memory, vocabulary)
    embedding, head = input_embedding(model), output_head(model)
    embedding.weight = _frozen(matrices.inputs)
    embedding.num_embeddings = head.out_features = vocabulary.rows
    head.weight = embedding.weight if matrices.tied else _frozen(matrices.outputs)
    if matrices.bias is not None:
        head.bias = _frozen(matrices.bias)
    for config in {id(c): c for c in (model.config, model.config.get_text_config(decoder=True))}.values():
        config.vocab_size = vocabulary.rows
        config.tie_word_embeddings = matrices.tied
    if hasattr(model, "vocab_size"):
        model.vocab_size = vocabulary.rows
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    model.generation_config = greedy(memory)
    return model


def shared_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model's modules and settings that shares all weights with it."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def greedy(memory: TokMem) -> GenerationConfig:
    """Greedy generation that stops where the training stops, and where the backbone stops."""
    own, tokenizer = memory.backbone.model.generation_config, memory.backbone.tokenizer
    ends = own.eos_token_id if own is not None else None
    listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(dict.fromkeys([memory.chat.stop, *listed])),
        pad_token_id=tokenizer.pad_token_id,
    )


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
