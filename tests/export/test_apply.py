"""A memory in a plain pipeline of transformers."""

from __future__ import annotations

import torch
from transformers import pipeline

from tests.export.tiny_memory import PROCEDURES, logit_gap, tiny_memory
from tokmem.export import apply
from tokmem.export.spelling import spelled_calls
from tokmem.records import Procedure


def test_a_pipeline_takes_it_and_the_backbone_stays_bit_equal() -> None:
    memory = tiny_memory(tied=True, coupled=False)
    own = memory.backbone.model
    before = {name: weight.clone() for name, weight in own.state_dict().items()}
    model, tokenizer = apply(memory)
    assert logit_gap(memory, model) < 1e-5
    asked = [{"role": "user", "content": "hi"}]
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer)(asked, max_new_tokens=4)
    assert answer[0]["generated_text"][-1]["role"] == "assistant"
    after = own.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    shared = {weight.data_ptr() for weight in own.model.layers.parameters()}
    assert {weight.data_ptr() for weight in model.model.layers.parameters()} == shared


def test_names_outside_ascii_are_read_back() -> None:
    names = ["café", "cafè", "straße", "数"]
    schema = PROCEDURES[0].parameters
    memory = tiny_memory(coupled=False, procedures=[Procedure(name, "", schema) for name in names])
    tokenizer = apply(memory)[1]
    written = [str(tokenizer.decode(memory.bank.slots.ids(name)[0])) for name in names]
    assert [spelled_calls(text + "{}")[1] for text in written] == [[(name, "{}")] for name in names]


def test_calls_are_spelled_as_asked() -> None:
    memory = tiny_memory()
    token = memory.bank.slots.ids("weather")[0]
    written = [str(apply(memory, spelling)[1].decode(token)) for spelling in (None, "private")]
    assert written == ["[TOOL_CALLS]weather[ARGS]", "<|tokmem|>weather<|args|>"]
