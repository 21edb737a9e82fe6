"""Random tools: none equals an evaluated tool, each can be requested, and calls fit the schema."""

from __future__ import annotations

from random import Random

import pytest

from pretraining.random_tools import rename_tool, sample_tool
from pretraining.tools import sample_chain, schema_line
from tokmem.mini.tools import (
    AUXILIARY,
    HELD_OUT,
    TOOLS,
    TRAINING,
    Tool,
    sample_call,
)


@pytest.mark.parametrize("seed", range(5))
def test_requests_say_every_argument_of_a_tool_that_is_new(seed: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    rng = Random(seed)
    for _ in range(200):
        tool = sample_tool(rng)
        assert tool.name not in {known.name for known in TOOLS}
        assert schema_line(tool).startswith(f"{tool.name}(")
        for phrasing in tool.phrasings:
            for argument in tool.parameters["required"]:
                assert f"{{{argument}}}" in phrasing
        call = sample_call(tool, rng)
        jsonschema.validate(call.arguments, tool.parameters)
        for argument, value in call.arguments.items():
            if tool.parameters["properties"][argument]["type"] != "boolean":
                assert str(value) in call.query


def test_they_chain_like_the_others() -> None:
    rng = Random(1)
    query, calls = sample_chain([sample_tool(rng) for _ in range(3)], rng, 3)
    assert len(calls) == 3
    assert query[0].isupper()
    assert query.endswith(".")


def test_hardly_any_is_drawn_twice() -> None:
    rng = Random(2)
    drawn = [sample_tool(rng) for _ in range(500)]
    assert len({schema_line(tool) for tool in drawn}) > 480


@pytest.mark.parametrize("tool", AUXILIARY[:20] + TRAINING, ids=lambda tool: tool.name)
def test_a_renamed_tool_is_asked_for_in_the_same_words(tool: Tool) -> None:
    """The same draws give the same request and the same values, under other keys."""
    jsonschema = pytest.importorskip("jsonschema")
    for seed in range(20):
        renamed = rename_tool(tool, Random(seed))
        assert renamed.name not in {held_out.name for held_out in HELD_OUT}
        ours, theirs = sample_call(renamed, Random(seed)), sample_call(tool, Random(seed))
        assert ours.query == theirs.query
        assert list(ours.arguments.values()) == list(theirs.arguments.values())
        jsonschema.validate(ours.arguments, renamed.parameters)
