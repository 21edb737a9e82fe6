"""The ways to recall that are compared: plain `generate` of transformers, and TokMem's own recall."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, StoppingCriteria

from tokmem.bank.bank import Bank
from tokmem.data.collate import left_pad
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.generate import Recaller
from tokmem.recall.settings import RecallSettings

Ids = Sequence[int]
Answers = list[list[int]]
Contender = Callable[[Sequence[Ids], Sequence[int]], Answers]


class OneMemoryToken(LogitsProcessor):
    """Allows only memory ids at the first position and forbids them after it."""

    def __init__(self, memory: Tensor, start: int) -> None:
        self.memory, self.start = memory, start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] > self.start:
            return scores.index_fill(1, self.memory, -torch.inf)
        allowed = torch.full_like(scores, -torch.inf)
        return allowed.index_copy(1, self.memory, scores[:, self.memory])


class OwnLimits(StoppingCriteria):
    """Ends each row at its own length."""

    def __init__(self, limits: Tensor, start: int) -> None:
        self.limits, self.start = limits, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return self.limits <= input_ids.shape[1] - self.start


class Generate:
    """`generate` of transformers over padded batches.

    Args:
        model: a frozen model whose embedding is its head.
        bank: a coupled bank; its ids replace rows of the model, or follow the last one.
        stops: ids that end a response.
        batch: queries in a batch.
        sort: whether to batch queries of similar length.
    """

    def __init__(self, model: PreTrainedModel, bank: Bank, stops: Ids, batch: int, sort: bool) -> None:
        embedding, self.ids = model.get_input_embeddings(), bank.slot_ids
        old = embedding.weight.detach()
        weight = old.new_zeros(max(len(old), int(self.ids.max()) + 1), old.shape[1])
        weight[: len(old)] = old
        weight[self.ids] = bank.steering.rows().to(weight)
        self.model = copy.deepcopy(model, {id(p): p for p in model.parameters() if p is not embedding.weight})
        self.model.get_input_embeddings().weight = torch.nn.Parameter(weight, requires_grad=False)
        self.model.tie_weights()
        self.stops, self.batch, self.sort = list(stops), batch, sort

    def __call__(self, prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) if self.sort else i)
        answers: dict[int, list[int]] = {}
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            found = self._batch([prompts[i] for i in chosen], [limits[i] for i in chosen])
            answers |= zip(chosen, found, strict=True)
        return [answers[i] for i in range(len(prompts))]

    def _batch(self, prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
        ids, mask, _ = (t.to(self.ids.device) for t in left_pad(prompts))
        start = ids.shape[1]
        out = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max(limits),
            eos_token_id=self.stops or None,
            pad_token_id=0,
            logits_processor=[OneMemoryToken(self.ids, start)],
            stopping_criteria=[OwnLimits(torch.tensor(limits, device=ids.device), start)],
        )[:, start:]
        return [self._cut(row[:limit]) for row, limit in zip(out.tolist(), limits, strict=True)]

    def _cut(self, ids: list[int]) -> list[int]:
        return next((ids[:i] for i, token in enumerate(ids) if token in self.stops), ids)


class TokMemRecall:
    """TokMem's own recall."""

    def __init__(self, lm: MemoryLM, stops: Ids, settings: RecallSettings) -> None:
        self.lm, self.recaller = lm, Recaller(lm, stops, settings)

    def __call__(self, prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
        found = self.recaller(prompts, limits=limits)
        slots = self.lm.bank.slots
        return [[i for name, ids in g.turns for i in (*slots.ids(name), *ids)] for g in found]


def contenders(
    model: PreTrainedModel, bank: Bank, stops: Ids, batch: int, rows: int, most: int
) -> dict[str, Contender]:
    """Returns the contenders to time; the others are compared with the first."""
    lm = MemoryLM(model, bank)
    settings = RecallSettings(max_new_tokens=most, batch_size=rows)
    return {
        "generate": Generate(model, bank, stops, batch, sort=False),
        "generate, by length": Generate(model, bank, stops, batch, sort=True),
        "tokmem, padded": TokMemRecall(lm, stops, replace(settings, continuous=False, batch_size=batch)),
        "tokmem, prefixes not shared": TokMemRecall(lm, stops, replace(settings, shared_prefixes=False)),
        "tokmem": TokMemRecall(lm, stops, settings),
    }
