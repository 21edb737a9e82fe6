"""All families of generated procedures, including those that training leaves out."""

from __future__ import annotations

from pretraining.families import copying, dates, formats, lists, numbers, records, sentences, words
from tokmem.mini.family import Family

FAMILIES: tuple[Family, ...] = (
    *words.FAMILIES,
    *lists.FAMILIES,
    *numbers.FAMILIES,
    *dates.FAMILIES,
    *records.FAMILIES,
    *sentences.FAMILIES,
    *formats.FAMILIES,
    *copying.FAMILIES,
)
TRAINED = tuple(family for family in FAMILIES if family.split == "trained")
