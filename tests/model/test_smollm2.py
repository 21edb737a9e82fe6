"""SmolLM2 itself, if the user's cache holds it. These tests download nothing."""

from __future__ import annotations

import pytest
import torch

from tokmem.data.chat import Chat
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.catalog import CATALOG, SMOLLM2
from tokmem.model.converted import converted_folders

pytestmark = pytest.mark.slow
WHEEL = CATALOG[SMOLLM2].wheel


@pytest.fixture(scope="module")
def smollm2() -> Backbone:
    assert WHEEL is not None
    if not any((c.sha256, c.dtype) == (WHEEL.member_sha256, "float32") for c in converted_folders()):
        pytest.skip("SmolLM2 is not in the cache; fetch it with `tokmem backbone get smollm2`")
    return load_backbone(SMOLLM2, device="cpu")


def test_it_is_the_model_that_results_name(smollm2: Backbone) -> None:
    assert WHEEL is not None
    assert (smollm2.id, smollm2.dim) == ("smollm2", 576)
    assert smollm2.fingerprint == "fee28d4c51a0671c335e976b9c37bb88"
    assert smollm2.source_sha256 == WHEEL.member_sha256


def test_its_rows_are_tied_and_none_is_to_spare(smollm2: Backbone) -> None:
    space = smollm2.id_space()
    assert (space.rows, space.spare) == (49_152, ())
    model = smollm2.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_its_chat_format_is_pinned(smollm2: Backbone) -> None:
    chat = Chat(smollm2.tokenizer)
    prompt = smollm2.tokenizer.decode(chat.prompt_ids(chat.text_ids("Hello")))
    assert prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert smollm2.tokenizer.decode([chat.stop]) == "<|im_end|>"


@torch.no_grad()
def test_it_answers(smollm2: Backbone) -> None:
    chat = Chat(smollm2.tokenizer)
    ids = torch.tensor([chat.prompt_ids(chat.text_ids("What is the capital of France?"))])
    written = smollm2.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
    )
    assert "Paris" in chat.decode(written[0, ids.shape[1] :].tolist())
