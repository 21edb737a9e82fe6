"""Twins of tools: requested in the same words, with other names for their arguments."""

from __future__ import annotations

from random import Random

import pytest
from jsonschema import validate

from tokmem.mini.tools import AUXILIARY, HELD_OUT, TOOLS, TRAINING, Tool, sample_call
from tokmem.mini.twins import rename_arguments


@pytest.mark.parametrize("tool", AUXILIARY[:20] + TRAINING, ids=lambda tool: tool.name)
def test_a_twin_is_asked_for_in_the_same_words(tool: Tool) -> None:
    """The same draws give the same request and the same values, under other keys."""
    for seed in range(10):
        twin = rename_arguments(tool, Random(seed))
        ours, theirs = sample_call(twin, Random(seed)), sample_call(tool, Random(seed))
        assert ours.query == theirs.query
        assert list(ours.arguments.values()) == list(theirs.arguments.values())
        validate(ours.arguments, twin.parameters)


def test_tools_of_the_training_alone_are_no_others() -> None:
    assert not {tool.name for tool in TRAINING} & {tool.name for tool in TOOLS}
    assert not {text for tool in TRAINING for text in tool.phrasings} & {
        text for tool in HELD_OUT for text in tool.phrasings
    }
