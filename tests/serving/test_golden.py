"""The text of an export's calls is the shape that vLLM's and SGLang's parsers document; neither runs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.export.tiny_memory import tiny_memory
from tokmem.export import apply
from tokmem.export.spelling import spelled_calls
from tokmem.export.vocabulary import plan_vocabulary

CASES = json.loads((Path(__file__).parent / "golden/mistral_calls.json").read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(len(case["calls"])))
def test_calls_are_written_in_the_documented_shape(case: dict) -> None:  # type: ignore[type-arg]
    memory = tiny_memory()
    ids, tokenizer = plan_vocabulary(memory).ids, apply(memory)[1]
    written = [i for name, text in case["calls"] for i in (ids[name], *memory.chat.text_ids(text))]
    shown = tokenizer.decode([*written, memory.chat.stop], skip_special_tokens=True)
    assert shown == case["text"]
    assert spelled_calls(shown) == ("", [tuple(call) for call in case["calls"]])
