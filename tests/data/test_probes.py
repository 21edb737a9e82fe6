"""Other instructions for the same queries."""

from __future__ import annotations

import pytest

from tokmem.data.probes import probe
from tokmem.errors import DataError
from tokmem.records import Example, Turn


def _example(query: str, instruction: str = "Say it all in five words") -> Example:
    return Example(query, (Turn("say", "r"),), instruction, id="e")


def test_truncated_keeps_the_first_half_of_the_words() -> None:
    (asked,) = probe([_example("q")], "truncated", {})
    assert asked.instruction == "Say it all"
    assert (asked.query, asked.turns) == ("q", (Turn("say", "r"),))
    assert probe([_example("q", "One two three")], "truncated", {})[0].instruction == "One two"


def test_reworded_hangs_on_the_content_alone_and_uses_every_wording() -> None:
    examples = [_example(f"q{i}") for i in range(40)]
    asked = probe(examples, "reworded", {"say": ("Tell", "Speak")})
    assert {e.instruction for e in asked} == {"Tell", "Speak"}
    assert probe(examples[::-1], "reworded", {"say": ("Tell", "Speak")})[::-1] == asked


def test_what_cannot_be_probed() -> None:
    with pytest.raises(DataError, match="has no instruction"):
        probe([_example("q", "")], "truncated", {})
    with pytest.raises(DataError, match="no other wording of 'say'"):
        probe([_example("q")], "reworded", {})
