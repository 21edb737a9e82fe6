"""Compares the loss of the backbone's training with its plain definition."""

from __future__ import annotations

from argparse import Namespace
from random import Random

import pytest
import torch
from transformers import AutoTokenizer

from pretraining import documents, train
from pretraining.documents import Exchange
from tokmem.mini.tools import Call
from tokmem.model.catalog import mini_path


def test_some_states_must_tell_three_tokens_or_words_of_the_request() -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(mini_path())
    args = Namespace(width=128, inner=64, layers=1)
    model = train.build_model(args, tokenizer)
    for head in (*model.ahead, model.words):
        torch.nn.init.normal_(head.weight, std=0.1)
    ids = torch.randint(10, 900, (2, 9))
    labels = torch.full_like(ids, train.IGNORE)
    labels[0, 3:7], labels[1, 5:] = ids[0, 3:7], ids[1, 5:]
    ahead = torch.full_like(ids, train.IGNORE)
    ahead[1, 5:] = ids[1, 5:]
    none = train.IGNORE
    told = torch.tensor([[1, 4, 20, 30, 40], [0, 2, 50, none, none]])  # row, position, words

    total, own = train.loss_sum(model, ids, labels, ahead, told)

    steps, bags = {1: 0.0, 2: 0.0, 3: 0.0}, 0.0
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        states = model.model(input_ids=ids).last_hidden_state
        for row, first, last in ((0, 3, 7), (1, 5, 9)):  # a response's positions
            for at in range(first, last):
                for offset in (1, 2, 3) if row else (1,):
                    state = states[row, at - offset]
                    logits = model.lm_head(state if offset == 1 else model.ahead[offset - 2](state))
                    steps[offset] -= float(logits.float().log_softmax(-1)[ids[row, at]])
        for row, at, words in ((1, 4, [20, 30, 40]), (0, 2, [50])):
            chances = model.lm_head(model.words(states[row, at])).float().log_softmax(-1)
            bags -= float(chances[words].mean())
    expected = steps[1] + train.AHEAD_WEIGHT * (steps[2] + steps[3]) + train.WORDS_WEIGHT * bags
    assert own == pytest.approx(steps[1], rel=1e-3)
    assert float(total.detach()) == pytest.approx(expected, rel=1e-3)


def test_the_state_before_each_call_tells_what_asked_for_it() -> None:
    calls = (
        Call("write 'Rome is far' to Ann", "send_text", {"person": "Ann", "text": "Rome is far"}),
        Call("wake me at 7:15", "set_alarm", {"time": "7:15"}),
        Call("Ann", "call", {"person": "Ann"}),
    )
    exchange = documents._arguments_asked("Do all that.", calls)
    assert [part.words for part in exchange.parts] == ["write to", "wake me at", ""]

    tokenizer = AutoTokenizer.from_pretrained(mini_path())
    encoder = train.Encoder(tokenizer)
    example = encoder.document((exchange,))
    plain = encoder.document((Exchange("Do all that.", exchange.response),))
    assert tokenizer.decode(example.ids) == tokenizer.decode(plain.ids)
    texts = [part.text for part in exchange.parts]
    assert {
        tokenizer.decode(example.ids[at + 1 :]): tokenizer.decode(w) for at, w in example.told.items()
    } == {
        "".join(texts) + "<|eot_id|>": " write to",
        "".join(texts[1:]) + "<|eot_id|>": " wake me at",
    }

    assert any(example.trained)
    unlearned = encoder.document((documents._arguments_asked("Do all that.", calls, learned=False),))
    assert not any(unlearned.trained)
    assert not any(unlearned.ahead)
    assert (unlearned.ids, unlearned.told) == (example.ids, example.told)

    batches = train.Batches(encoder, [(lambda rng: (exchange,), 1.0)], 6144, 256, seed=0)
    ids, _, ahead, told = batches(copy_share=0.0)
    assert len(told) == 2 * len(ids)
    for row, at, *words in told.tolist():
        assert encoder.plain(" write to" if at == told[0, 1] else " wake me at") == [
            w for w in words if w != train.IGNORE
        ]
        assert ahead[row, at + 1] == ids[row, at + 1]  # a part's first token


def test_arguments_are_learned_from_lists_of_tools_alone() -> None:
    rng = Random(0)
    for document, learned in (
        (documents.listing_document, True),
        (documents.request_document, False),
    ):
        exchanges = [e for _ in range(60) for e in document(rng) if e.parts]
        assert len(exchanges) > 20
        assert {e.train_response for e in exchanges} == {learned}
