from __future__ import annotations

import json

import pytest

from tests.data.calls.tool_rows import rows, tools
from tokmem.data.calls.compose import ComposeSpec, compose
from tokmem.data.calls.files import calls_path, read_calls, read_descriptions, write_calls
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.corpus import SPLITS
from tokmem.errors import DataError
from tokmem.records import Turn

SPEC = ComposeSpec(train_size=20, val_size=5, test_size=6, train_max_calls=2, test_max_calls=3)
COMPOSED = compose(rows("alpha beta gamma", 20), tools("alpha beta gamma"), SPEC)


def test_files_have_the_published_names_and_fields(tmp_path):
    files = write_calls(tmp_path / "data", ToolRange(51, 53), SPEC, COMPOSED)
    assert [str(file.relative_to(tmp_path / "data")) for file in files] == [
        "tool_descriptions_tools51-53.json",
        "training/function_calling_train_tools51-53_2calls.json",
        "validation/function_calling_validation_tools51-53_2calls.json",
        "test/function_calling_test_tools51-53_3calls.json",
    ]
    raw = json.loads(files[3].read_text())
    assert raw[0]["user_input"] == COMPOSED.test[0].query
    assert raw[0]["tools"] == [turn.procedure for turn in COMPOSED.test[0].turns]
    assert raw[0]["function_calls"] == [turn.response for turn in COMPOSED.test[0].turns]
    described = json.loads(files[0].read_text())
    assert list(described) == ["alpha", "beta", "gamma"]
    assert described["beta"]["name"] == "beta"


def test_what_is_written_is_read_again(tmp_path):
    for tool_range in (ToolRange(1, 3), None):
        files = write_calls(tmp_path, tool_range, SPEC, COMPOSED)
        assert read_descriptions(files[0]) == COMPOSED.procedures
        for split in SPLITS:
            path = calls_path(tmp_path, split, tool_range, SPEC.max_calls(split))
            assert path in files
            assert read_calls(path) == COMPOSED.examples(split)


def test_the_single_pair(tmp_path):
    spec = ComposeSpec(train_size=20, test_size=6)
    composed = compose(rows("alpha beta", 40), tools("alpha beta"), spec)
    files = write_calls(tmp_path, None, spec, composed)
    names = ["tool_descriptions.json", "function_calling_train.json", "function_calling_test.json"]
    assert [file.name for file in files] == names
    assert {file.parent for file in files} == {tmp_path}


@pytest.mark.parametrize(
    "call",
    [
        '{"city":"Perú","n":1}',
        {"city": "Perú", "n": 1},
        '{"name": "weather", "arguments": {"city": "Perú", "n": 1}}',
        {"name": "weather", "arguments": {"city": "Perú", "n": 1}},
        {"name": "weather", "arguments": '{"city": "Perú", "n": 1}'},
        {"name": "weather", "parameters": {"city": "Perú", "n": 1}},
    ],
)
def test_calls_in_every_style_are_read_into_one(tmp_path, call):
    path = tmp_path / "calls.json"
    row = {"id": None, "user_input": "hi", "tools": ["weather"], "function_calls": [call]}
    path.write_text(json.dumps([row]))
    (example,) = read_calls(path)
    assert example.turns == (Turn("weather", '{"city": "Perú", "n": 1}'),)
    assert example.id == "calls-0"


def test_arguments_that_look_like_a_call_of_another_tool_are_arguments(tmp_path):
    inner = {"name": "other", "arguments": {"a": 1}}
    path = tmp_path / "calls.json"
    path.write_text(
        json.dumps([{"user_input": "hi", "tools": ["run"], "function_calls": [json.dumps(inner)]}])
    )
    assert json.loads(read_calls(path)[0].turns[0].response) == inner


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "Expecting"),
        ("{}", "a list"),
        ("[]", "no rows"),
        ("[1]", "row 0"),
        ('[{"tools": ["a"], "function_calls": ["{}"]}]', "no `user_input`"),
        ('[{"user_input": "x", "tools": ["a"], "function_calls": []}]', "1 `tools`, 0 `function_calls`"),
        ('[{"user_input": " ", "tools": ["a"], "function_calls": ["{}"]}]', "0 characters"),
        ('[{"user_input": "x", "tools": [1], "function_calls": ["{}"]}]', r"`tools`\[0\]"),
        ('[{"user_input": "x", "tools": ["a"], "function_calls": ["{"]}]', r"row 0: `function_calls`\[0\]"),
        ('[{"user_input": "x", "tools": ["a"], "function_calls": ["3"]}]', "an object"),
        ('[{"user_input": "x", "tools": ["a"], "function_calls": ["{\\"n\\": NaN}"]}]', "NaN is not JSON"),
        (
            '[{"user_input": "x", "tools": ["a"], "function_calls": [{"n": Infinity}]}]',
            "Infinity is not JSON",
        ),
    ],
)
def test_malformed_files(tmp_path, text, says):
    path = tmp_path / "calls.json"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        read_calls(path)


@pytest.mark.parametrize("key", ["parameters", "inputSchema", "input_schema"])
def test_the_schema_of_a_description_stands_under_any_usual_key(tmp_path, key):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    (tmp_path / "tools.json").write_text(json.dumps([{"name": "weather", key: schema}]))
    (tool,) = read_descriptions(tmp_path / "tools.json")
    assert tool.parameters == schema


def test_descriptions_as_published(tmp_path):
    path = tmp_path / "tools.json"
    told = {"name": "a", "description": "A.", "parameters": {"n": {"type": "int, optional"}}, "type": ""}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": []}
    for raw in ({"a": told}, [told]):
        path.write_text(json.dumps(raw))
        (tool,) = read_descriptions(path)
        assert (tool.name, tool.description, tool.parameters) == ("a", "A.", schema)
    path.write_text(json.dumps([told, told]))
    with pytest.raises(DataError, match="'a' stands twice"):
        read_descriptions(path)
    path.write_text(json.dumps([{"name": "a", "parameters": {"n": "int"}}]))
    with pytest.raises(DataError, match="tool 0: parameter 'n' is str"):
        read_descriptions(path)
