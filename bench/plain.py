"""The plain loop: a training step with the semantics of the method's published scripts, in our own code.

Whole padded sequences run with a graph. Memory rows are written into the embedding's output with one mask and
one assignment a memory token. The head computes logits of all positions over the whole vocabulary, and the
columns of memory tokens are overwritten; the logits are copied to shift them, and cross-entropy ignores
unlabelled positions. The rows are a parameter in the backbone's dtype. Two costs of the scripts are left out,
to the plain loop's advantage: the key-value cache of their forward, and their second cross-entropy for the
log.

Letters: B batch, T positions, d hidden size, V rows of the backbone, S memory tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from tokmem.data.collate import IGNORE, right_pad
from tokmem.records import Encoded


def whole_batch(examples: Sequence[Encoded], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ids, mask and labels of whole right-padded sequences, each (B, T); labels are not shifted."""
    ids, mask = right_pad([e.ids for e in examples])
    flags = [[i if on else IGNORE for i, on in zip(e.ids, e.supervised, strict=True)] for e in examples]
    labels, _ = right_pad(flags, IGNORE)
    return ids.to(device), mask.to(device), labels.to(device)


class PlainLoop:
    """The plain loop's model: a frozen backbone, memory ids, and their rows.

    Args:
        model: a frozen Llama whose embedding is its head.
        ids: S memory ids, below V.
        rows: (S, d) starting rows.
    """

    def __init__(self, model: PreTrainedModel, ids: Sequence[int], rows: Tensor) -> None:
        weight = model.get_parameter("model.embed_tokens.weight")
        self.model, self.ids = model, tuple(ids)
        self.index = torch.tensor(self.ids, device=weight.device)
        self.rows = nn.Parameter(rows.to(weight).clone())

    def loss(self, examples: Sequence[Encoded]) -> Tensor:
        """Returns the mean cross-entropy over the labelled positions."""
        ids, mask, labels = whole_batch(examples, self.index.device)
        logits = self._logits(ids, mask)
        shifted = logits[:, :-1].contiguous().flatten(0, 1)
        # In the backbone's dtype, as in the scripts.
        return F.cross_entropy(shifted, labels[:, 1:].flatten(), ignore_index=IGNORE)

    def _logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        embedded = self._embed(ids)
        body = self.model.get_decoder()
        hidden = body(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state
        logits = self.model.get_output_embeddings()(hidden)
        logits[..., self.index] = hidden @ self.rows.T
        return logits

    def _embed(self, ids: Tensor) -> Tensor:
        embedded = self.model.get_input_embeddings()(ids)
        for slot, token in enumerate(self.ids):
            mask = ids == token
            if mask.any():
                embedded[mask] = self.rows[slot]
        return embedded
