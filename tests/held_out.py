"""A small corpus of held-out procedures for the bundled backbone, which the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Sequence

from tokmem.data import Corpus
from tokmem.eval.rouge import score_texts
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.procedures import DEMO, SETTINGS
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example

# Untrained, the backbone scores 31 ROUGE-L on these two; it learns them to about 80.
FIRST = ("record_json_city_and_age", "sentence_passive_negation")
LATER = ("date_slashes_to_month_and_year",)
RECALL = RecallSettings(max_new_tokens=32, batch_size=64)


def load_mini() -> Backbone:
    return load_backbone("mini", dtype="float32", device="cpu")


def corpus(names: Sequence[str]) -> Corpus:
    return procedures_corpus([f for f in (*SETTINGS, *DEMO) if f.name in names], 48, 4, 8)


def rouge(examples: Sequence[Example], answers: Sequence[Answer]) -> float:
    expected = [e.turns[0].procedure for e in examples]
    return score_texts(expected, [e.accepted for e in examples], [a.response for a in answers]).macro.rouge_l
