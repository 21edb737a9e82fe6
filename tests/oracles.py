"""Slow, plain references. They share no code with what they check, except transformers itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from tokmem.bank.bank import Bank
from tokmem.records import Encoded


def resized_weights(
    model: PreTrainedModel, bank: Bank, steering: Tensor, address: Tensor
) -> dict[str, Tensor]:
    """The backbone's two vocabulary matrices with the bank's rows written in: replaced, or past the end.

    `steering` and `address` are (S, d) rows in slot order; gradients flow through to them.
    """
    ids = torch.tensor(bank.slots.token_ids)
    rows = max(model.get_input_embeddings().weight.shape[0], int(ids.max()) + 1)
    weights = {}
    for module, table in ((model.get_input_embeddings(), steering), (model.get_output_embeddings(), address)):
        weight = module.weight.detach()
        whole = torch.zeros(rows, weight.shape[1])
        whole[: len(weight)] = weight
        name = next(n for n, m in model.named_modules() if m is module)
        weights[f"{name}.weight"] = whole.index_put((ids,), table)
    return weights


def forbidden_ids(model: PreTrainedModel, bank: Bank) -> list[int]:
    """Ids that nothing may predict: gaps past the end, and all but the first token of wide procedures."""
    vocab = model.get_input_embeddings().weight.shape[0]
    heads = {bank.slots.ids(n)[0] for n in bank.names}
    later = {i for n in bank.names for i in bank.slots.ids(n)} - heads
    gaps = set(range(vocab, max(vocab - 1, *bank.slots.token_ids) + 1)) - heads
    return sorted(later | gaps)


def resized_logits(model: PreTrainedModel, weights: dict[str, Tensor], ids: Sequence[int]) -> Tensor:
    """(T, W) logits of one unpadded sequence from the model as if its vocabulary had been resized."""
    return functional_call(
        model, weights, kwargs={"input_ids": torch.tensor([ids])}, tie_weights=False
    ).logits[0]


def plain_loss(
    model: PreTrainedModel, bank: Bank, steering: Tensor, address: Tensor, examples: Sequence[Encoded]
) -> Tensor:
    """Mean cross-entropy over supervised tokens, one unpadded sequence at a time, full logits."""
    weights = resized_weights(model, bank, steering, address)
    forbidden = forbidden_ids(model, bank)
    losses = []
    for example in examples:
        logits = resized_logits(model, weights, example.ids[:-1]).float()
        logits = logits.index_fill(1, torch.tensor(forbidden, dtype=torch.long), -torch.inf)
        for position, (target, on) in enumerate(zip(example.ids[1:], example.supervised[1:], strict=True)):
            if on:
                losses.append(-logits[position].log_softmax(-1)[target])
    return torch.stack(losses).mean()


def distil_loss(
    model: PreTrainedModel,
    bank: Bank,
    steering: Tensor,
    address: Tensor,
    examples: Sequence[Encoded],
    teacher: Callable[[str, int], dict[int, float]],
    reverse: bool = False,
) -> Tensor:
    """Mean over supervised tokens of the divergence from a teacher; cross-entropy for memory tokens.

    `teacher` gives the probabilities of some tokens by example and place in its response.
    """
    weights = resized_weights(model, bank, steering, address)
    forbidden = torch.tensor(forbidden_ids(model, bank), dtype=torch.long)
    heads = {bank.slots.ids(n)[0] for n in bank.names}
    losses = []
    for example in examples:
        logits = resized_logits(model, weights, example.ids[:-1]).float().index_fill(1, forbidden, -torch.inf)
        places = [i for i, on in enumerate(example.supervised) if on]
        responses = [i for i in places if example.ids[i] not in heads]
        for place in places:
            q = logits[place - 1].log_softmax(-1)
            if place not in responses:
                losses.append(-q[example.ids[place]])
                continue
            p = teacher(example.id, responses.index(place))
            others = [i for i in range(len(q)) if i not in p and i not in bank.slots.token_ids]
            rest = 1 - sum(p.values())
            if reverse:
                other = q[[i for i in range(len(q)) if i not in p]].logsumexp(0)
                loss = sum(q[i].exp() * (q[i] - math.log(value)) for i, value in p.items())
                losses.append(loss + other.exp() * (other - math.log(rest)))
                continue
            loss = sum(value * (math.log(value) - q[i]) for i, value in p.items())
            losses.append(loss + rest * (math.log(rest) - q[others].logsumexp(0)))
    return torch.stack(losses).mean()


def greedy(
    model: PreTrainedModel, bank: Bank, prompt: Sequence[int], stop: int, most: int, *, atomic: bool
) -> list[int]:
    """Greedy decoding without cache or batch from the resized model; the first token is a memory token."""
    steering, address = bank.steering.rows(), bank.address.rows()
    weights = resized_weights(model, bank, steering, address)
    forbidden = set(forbidden_ids(model, bank))
    heads = {bank.slots.ids(n)[0]: bank.slots.ids(n) for n in bank.names}
    out: list[int] = []
    queue: list[int] = []
    while len(out) < most:
        if queue:
            out.append(queue.pop(0))
            continue
        logits = resized_logits(model, weights, [*prompt, *out])[-1].tolist()
        allowed = [i for i in range(len(logits)) if i not in forbidden]
        if not out:
            allowed = list(heads)
        elif atomic:
            allowed = [i for i in allowed if i not in heads]
        token = max(allowed, key=lambda i: logits[i])
        if token == stop:
            break
        out.append(token)
        queue = list(heads.get(token, ())[1:])
    return out


def labelled_loss(model: nn.Module, examples: Sequence[Encoded]) -> Tensor:
    """Mean cross-entropy over supervised tokens: the model's own forward with labels, one by one."""
    total, count = torch.zeros(()), 0
    for example in examples:
        labels = [i if on else -100 for i, on in zip(example.ids, example.supervised, strict=True)]
        output = model(input_ids=torch.tensor([example.ids]), labels=torch.tensor([labels]))
        total = total + output.loss * sum(example.supervised)
        count += sum(example.supervised)
    return total / count
