"""Generated data never changes, because committed results were measured on it."""

from __future__ import annotations

from tokmem.mini.corpus import arithmetic_corpus, procedures_corpus
from tokmem.mini.procedures import DEMO, SETTINGS
from tokmem.mini.tool_rows import mini_tool_rows


def test_a_seed_gives_the_same_procedures_problems_and_tool_rows_as_ever() -> None:
    assert procedures_corpus((*SETTINGS, *DEMO), 20, 4, 6).checksum.startswith("14aae841f3691596")
    assert arithmetic_corpus(30, 10).checksum.startswith("b9fbee058c3d5248")
    assert mini_tool_rows(12, more_tools=60).checksum.startswith("bc62dd11f2a0a30b")
