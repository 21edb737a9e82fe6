"""Held-out procedures on the bundled backbone, small: what the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Sequence

from tokmem.data import Corpus
from tokmem.eval.rouge import score_texts
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.procedures import DEMO
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example

FIRST = ("csv_color_thing_number", "numbers_drop_first_plus", "time_minutes_past")
LATER = ("date_slashes_to_month_and_year",)
RECALL = RecallSettings(max_new_tokens=32, batch_size=64)


def load_mini() -> Backbone:
    return load_backbone(dtype="float32", device="cpu")


def corpus(names: Sequence[str]) -> Corpus:
    return procedures_corpus([f for f in DEMO if f.name in names], 48, 4, 8)


def rouge(examples: Sequence[Example], answers: Sequence[Answer]) -> float:
    expected = [e.turns[0].procedure for e in examples]
    return score_texts(expected, [e.accepted for e in examples], [a.response for a in answers]).macro.rouge_l
