from __future__ import annotations

import re
from collections import Counter

import pytest

from tokmem.data.calls.compose import ComposeSpec, compose
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.text import arguments_json
from tokmem.data.calls.xlam import rank_tools
from tokmem.errors import ConfigError
from tokmem.mini.tool_rows import mini_tool_rows
from tokmem.mini.tools import AUXILIARY, HELD_OUT, TOOLS, TRAINING

DATA = mini_tool_rows(50)


def test_ranks_are_the_order_of_the_table() -> None:
    ranked = rank_tools(DATA.rows)
    assert [tool.name for tool in ToolRange(1, 50).select(ranked)] == [tool.name for tool in AUXILIARY]
    assert [tool.name for tool in ToolRange(51, 100).select(ranked)] == [tool.name for tool in HELD_OUT]
    assert [tool.parameters for tool in ranked] == [tool.parameters for tool in TOOLS]


def test_each_tool_has_as_many_rows_and_no_query_stands_twice() -> None:
    assert set(Counter(row.tool for row in DATA.rows).values()) == {50}
    assert len({row.query.casefold() for row in DATA.rows}) == len(DATA.rows) == 5000
    assert len({row.id for row in DATA.rows}) == 5000


def test_arguments_fit_the_schema_and_stand_in_the_query_where_they_are_copied() -> None:
    tools = {tool.name: tool for tool in TOOLS}
    for row in DATA.rows:
        (call,) = row.calls
        schema, spoken = tools[call.name].parameters, tools[call.name].spoken
        assert set(schema["required"]) <= set(call.arguments) <= set(schema["properties"])
        for name, value in call.arguments.items():
            assert spoken.get(name, {}).get(value, str(value)) in row.query


def test_seeded_and_more_rows_begin_with_the_same() -> None:
    few, other = mini_tool_rows(10), mini_tool_rows(10, seed=1)
    assert mini_tool_rows(10) == few
    assert few.checksum not in (other.checksum, DATA.checksum)
    queries = {row.tool: [] for row in DATA.rows}
    for row in DATA.rows:
        queries[row.tool].append(row)
    assert few.rows == tuple(row for own in queries.values() for row in own[:10])


def test_more_tools_follow_the_hundred_and_are_none_of_them() -> None:
    few, many = mini_tool_rows(12, more_tools=45), mini_tool_rows(12, more_tools=60)
    hundred = mini_tool_rows(12)
    assert few.rows[: len(hundred.rows)] == hundred.rows
    assert many.rows[: len(few.rows)] == few.rows
    assert len({hundred.checksum, few.checksum, many.checksum}) == 3
    names = [tool.name for tool in rank_tools(many.rows)]
    assert len(names) == len(set(names)) == 160
    assert names[100:140] == [f"{tool.name}_2" for tool in TRAINING]
    assert names[140] == f"{AUXILIARY[0].name}_2"
    assert set(Counter(row.tool for row in many.rows).values()) == {12}
    later = {tool.name: tool for tool in rank_tools(many.rows)[140:]}
    for row in many.rows[-20 * 12 :]:
        (call,) = row.calls
        schema = later[call.name].parameters
        assert set(schema["required"]) <= set(call.arguments) <= set(schema["properties"])
    assert mini_tool_rows(12, 1, 60).rows[-1] != many.rows[-1]


def test_twins_are_asked_for_in_the_same_words_and_call_their_arguments_differently() -> None:
    tables = {f"{tool.name}_2": tool for tool in TRAINING}
    shown = {tool.name: tool.parameters for tool in rank_tools(mini_tool_rows(12, more_tools=40).rows)[100:]}
    assert shown.keys() == tables.keys()
    own = {name: list(tool.parameters["properties"]) for name, tool in tables.items()}
    new = {name: list(parameters["properties"]) for name, parameters in shown.items()}
    for name, keys in new.items():
        assert len(set(keys)) == len(own[name])
        assert list(shown[name]["properties"].values()) == list(
            tables[name].parameters["properties"].values()
        )
    changed = [a != b for name in own for a, b in zip(own[name], new[name], strict=True)]
    assert 0.6 < sum(changed) / len(changed) < 0.95  # a few keep their names
    for row in mini_tool_rows(12, more_tools=40).rows[100 * 12 :]:
        query = row.query.replace(" an ", " a ")
        said = (re.split(r"\[.*?\]|'?\{\w+\}'?", phrasing) for phrasing in tables[row.tool].phrasings)
        assert any(all(part in query for part in parts) for parts in said), row.query


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="samples_per_tool 0 of generated"):
        mini_tool_rows(0)
    with pytest.raises(
        ConfigError, match="samples_per_tool 300; wanted: at most the 80 requests of flip_coin"
    ):
        mini_tool_rows(300)


def test_composed_queries_ask_for_what_their_turns_call() -> None:
    tools = ToolRange(51, 100).select(rank_tools(DATA.rows))
    spec = ComposeSpec(train_size=1500, val_size=100, test_size=150)
    composed = compose(DATA.rows, tools, spec)
    known = {row.id: row for row in DATA.rows}
    assert min(Counter(len(e.turns) for e in composed.test)[n] for n in (2, 3, 4)) >= 40
    for example in composed.test:
        parts = [known[part] for part in example.id.split("+")]
        assert [t.response for t in example.turns] == [arguments_json(p.calls[0].arguments) for p in parts]
        assert all(part.query[1:] in example.query for part in parts)
