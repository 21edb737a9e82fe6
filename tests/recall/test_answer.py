from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tiny_gguf import chat_tokenizer
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder
from tokmem.recall import answer
from tokmem.recall.answer import stop_ids, stream_answer
from tokmem.recall.generate import Generation
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example


@pytest.mark.parametrize(("eos", "wanted"), [(None, {7}), (2, {2, 7}), ([2, 3, 7], {2, 3, 7})])
def test_a_response_ends_at_the_stop_token_and_at_every_end_of_text(eos: Any, wanted: set[int]) -> None:
    model: Any = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=eos))
    found = stop_ids(model, SimpleNamespace(stop=7))  # type: ignore[arg-type]
    assert len(found) == len(wanted)
    assert set(found) == wanted


@pytest.mark.parametrize("finished", [False, True])
def test_a_stream_holds_back_what_may_be_the_text_behind_a_response(
    finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is cut short gives it back in the end."""
    chat = Chat(chat_tokenizer())
    encoder = Encoder(chat, {}, ends={"a": "END"})
    texts = ["x", "xE", "xEND" if finished else "xEN"]
    grown = [Generation([], [("a", chat.text_ids(text))], None, False, []) for text in texts]
    grown[-1] = replace(grown[-1], finished=finished)
    monkeypatch.setattr(answer, "_recaller", lambda *_: SimpleNamespace(stream=lambda *_: iter(grown)))
    lm: Any = None
    found = list(stream_answer(lm, encoder, Example("q"), RecallSettings()))
    assert [one.response for one in found] == ["x", "x", "x", *([] if finished else ["xEN"])]
    assert {one.query for one in found} == {"q"}


def test_a_turn_before_another_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text would otherwise lack a piece that the whole answer has."""
    chat = Chat(chat_tokenizer())
    encoder = Encoder(chat, {}, ends={"a": "END"})
    grown = [
        Generation([], [("a", chat.text_ids(text)) for text in turns], None, finished, [])
        for turns, finished in ((["xE"], False), (["xE", "yE"], False), (["xE", "yEND"], True))
    ]
    monkeypatch.setattr(answer, "_recaller", lambda *_: SimpleNamespace(stream=lambda *_: iter(grown)))
    lm: Any = None
    found = list(stream_answer(lm, encoder, Example("q"), RecallSettings()))
    assert [[turn.response for turn in one.turns] for one in found] == [["x"], ["xE", "y"], ["xE", "y"]]
