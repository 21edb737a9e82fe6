"""Memory tokens get their texts in the JSON of every kind of fast tokenizer."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models

from tests.export.tiny_memory import tiny_memory
from tokmem.export.tokenizer import _name_tokens
from tokmem.export.vocabulary import plan_vocabulary


@pytest.mark.parametrize("kind", ["scores", "ids"])
def test_a_row_is_matched_whole_and_others_keep_their_place(kind: str) -> None:
    vocabulary = plan_vocabulary(tiny_memory())
    texts = [f"w{number}" for number in range(vocabulary.rows)]
    if kind == "scores":  # SentencePiece's models
        model = models.Unigram([(text, -1.0) for text in texts], unk_id=0)
    else:
        model = models.WordLevel({text: number for number, text in enumerate(texts)}, unk_token="w0")
    spec = json.loads(Tokenizer(model).to_str())
    _name_tokens(spec, vocabulary)
    made = Tokenizer.from_str(json.dumps(spec))
    for token, text in enumerate(texts):
        wanted = vocabulary.named.get(token, text)
        assert made.id_to_token(token) == wanted
        if token in vocabulary.named:
            assert made.encode(wanted).ids == [token]
