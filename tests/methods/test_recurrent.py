"""Memories on a backbone that keeps a recurrent state beside keys and values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import Lfm2Config

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import randomised
from tokmem.methods.corrections import learn_correction
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone, is_recurrent, wrap_backbone
from tokmem.model.prefix import last_states
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train.settings import FitSettings

QUERIES = ("France", "a country", "Peru is far away")
EXAMPLES = [Example(q, (Turn(name, f"{name} of {q}"),)) for name in ("sum", "date") for q in QUERIES]
RECALL = RecallSettings(batch_size=1, max_new_tokens=3)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    tokenizer = tiny_tokenizer(LLAMA)
    config = Lfm2Config(
        vocab_size=len(tokenizer) + 8,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention", "conv"],
    )
    torch.manual_seed(0)
    made = wrap_backbone(randomised(config), tokenizer)
    assert is_recurrent(made.model)
    return made


def test_last_states_are_those_of_each_sequence_alone(backbone: Backbone) -> None:
    lm = TokMem(backbone).lm
    sequences = [(5, 9, 30, 7), (8,), (4, 11, 6, 3, 17), (21, 9)]
    alone = [backbone.model.model(torch.tensor([ids])).last_hidden_state[0, -1] for ids in sequences]
    torch.testing.assert_close(last_states(lm, sequences), torch.stack(alone), rtol=1e-4, atol=1e-5)


def learned(backbone: Backbone, **options: object) -> TokMem:
    made = TokMem(backbone, settings=FitSettings(epochs=1, batch_size=2), recall=RECALL, **options)
    made.learn([Procedure("sum"), Procedure("date")], EXAMPLES, EXAMPLES[:1])
    assert made.recall("Italy").procedure in ("sum", "date")
    return made


def test_the_default_memory_learns_and_takes_corrections(backbone: Backbone) -> None:
    made = learned(backbone)
    bank, asked = made.bank, replace(EXAMPLES[0], turns=())
    assert bank.statistics is not None
    prompts = [made.encoder.prompt(e) for e in EXAMPLES[: len(QUERIES)]]
    torch.testing.assert_close(bank.states["sum"], last_states(made.lm, prompts), rtol=1e-4, atol=1e-4)
    before = bank.statistics.counts["date"]
    learn_correction(made, asked, "date")
    assert bank.statistics.counts["date"] > before


def test_states_are_kept_as_negatives(backbone: Backbone) -> None:
    made = learned(backbone, addresses="trained", negatives=2)
    assert [len(made.bank.states[name]) for name in ("sum", "date")] == [2, 2]
