"""A frozen backbone that reads and writes the memory tokens of a bank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from tokmem.bank.bank import Bank
from tokmem.data.collate import on_device
from tokmem.errors import BankError
from tokmem.model.backbone import check_supported, input_embedding
from tokmem.model.layers import MemoryHead, MemoryLookup
from tokmem.model.packed import ONE_FORWARD, PackedRow, Past, longest_packed, run_packed
from tokmem.model.placed import device_of


class MemoryLM:
    """The model with memory tokens: lookup, the backbone's body, and head.

    Letters: B batch, T positions, d hidden size, V rows of the backbone, P procedures.

    Args:
        model: a frozen causal LM.
        bank: the memory tokens. The model keeps a reference, so it sees later additions at once.
        writes: whether the model may predict memory tokens. If False, it only reads them (a soft prompt):
            the attribute `bank` is empty, the head is the backbone's own, and `read` is the given bank.

    Attributes:
        bank: the memory tokens that the model can write and read.
        read: the memory tokens that the model can read: `bank`, or the tokens that it never writes.
    """

    def __init__(self, model: PreTrainedModel, bank: Bank, *, writes: bool = True) -> None:
        check_supported(model)
        dim = input_embedding(model).embedding_dim
        if bank.dim != dim:
            raise BankError(
                f"a bank of dimension {bank.dim}", f"the backbone's {dim}", "build it for this backbone"
            )
        self.model, self.read = model, bank
        self.bank = bank if writes else Bank(dim, bank.slots.space)
        self.lookup = MemoryLookup(model, self.read)
        self.head = MemoryHead(model, self.bank)
        for one in (self.read, self.bank):
            one.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the backbone's input embedding lives."""
        return device_of(input_embedding(self.model))

    def hidden(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache | None = None) -> Tensor:
        """Runs the body.

        Args:
            ids: (B, T) token ids, with memory ids among them.
            mask: (B, C + T) 1 for a real position, 0 for padding; C positions are in the cache.
            positions: (B, T) position of each token in its own sequence.
            cache: keys and values of C earlier positions; the forward pass extends it in place.

        Returns:
            (B, T, d) last hidden states.
        """
        body = getattr(self.model, self.model.base_model_prefix)
        embedded = self.lookup(ids)
        with ONE_FORWARD:
            output = body(
                inputs_embeds=embedded,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        state: Tensor = output.last_hidden_state
        return state.to(ids.device)

    @cached_property
    def longest_packed(self) -> float:
        """The longest sequence, in tokens, that `packed` may take; 0 if the backbone cannot be packed."""
        return longest_packed(self.model)

    @contextmanager
    def padded(self) -> Iterator[None]:
        """Turns packing off within the block: sequences are padded to one length."""
        longest, self.longest_packed = self.longest_packed, 0.0
        try:
            yield
        finally:
            self.longest_packed = longest

    def packed(
        self,
        sequences: Sequence[Sequence[int]],
        past: Sequence[Sequence[Past]] = (),
        cache: Cache | None = None,
    ) -> Tensor:
        """Runs the body over sequences that stand side by side in one row, without padding.

        Args:
            sequences: token ids, with memory ids among them. A sequence with its past is at most
                `longest_packed` tokens long.
            past: for each sequence the parts before it, in order; each has keys and values, a pair (G, L, D)
                for each layer. Empty if nothing stands before any sequence.
            cache: receives the keys and values of the row, (1, G, N, D) for each layer.

        Returns:
            (N, d) last hidden states, sequence after sequence.
        """
        ids = on_device([i for sequence in sequences for i in sequence], self.device)
        row = PackedRow([len(sequence) for sequence in sequences], past)
        return run_packed(self.model, self.lookup(ids), row, cache)

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T) right-padded ids -> (B, T, W) logits by token id, as of a model with a resized vocabulary.

        W = max(V, largest memory id + 1). A replaced row has the logit of its memory token. Ids past the end
        without a memory token, and later tokens of wide procedures, have -inf. This tensor serves inspection;
        training and recall never build it.
        """
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        hidden = self.hidden(ids, mask, positions).flatten(0, 1)
        frozen, memory = self.head.frozen(hidden), self.head.memory(hidden)
        slot_ids = self.bank.slot_ids
        width = max([frozen.shape[-1], *(slot_ids + 1).tolist()])
        full = frozen.new_full((len(hidden), width), -torch.inf)
        full[:, : frozen.shape[-1]] = frozen
        full[:, slot_ids] = -torch.inf
        full[:, self.bank.head_ids] = memory
        return full.view(*ids.shape, width)
