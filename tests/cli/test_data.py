"""`tokmem data compose`: the published files, from rows or from generated tools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tokmem.data.calls.files import read_calls, read_descriptions


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six tools of forty rows each, and three broken rows."""
    rows: list[object] = [{"query": ""}, {"query": ""}, 7]
    for number in range(240):
        name = f"tool_{number % 6}"
        call = {"name": name, "arguments": {"n": number}}
        tool = {"name": name, "description": f"Does {name}.", "parameters": {"n": {"type": "int"}}}
        rows.append({"query": f"run {name} with {number}", "answers": json.dumps([call]), "tools": [tool]})
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def calls(path: str) -> Counter[int]:
    return Counter(len(example.turns) for example in read_calls(Path(path)))


def test_rounds_with_the_published_flags(cli: Cli, source: Path) -> None:
    done = cli(
        "data", "compose", "--path", source, "--training_rounds", "1-3:1,4-6:3", "--train_size", 20,
        "--test_size", 4, "--train_max_function_calls", 2, "--test_max_calls_per_round", "2,3",
        "--max_samples_per_tool", 30, "--train_multi_tool_ratios", "1.0", "--output_dir", "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [tool.name for tool in read_descriptions(Path("out/tool_descriptions_tools4-6.json"))] == [
        "tool_3",
        "tool_4",
        "tool_5",
    ]
    assert calls("out/training/function_calling_train_tools1-3_2calls.json") == {1: 10, 2: 10}
    assert calls("out/test/function_calling_test_tools1-3_2calls.json") == {2: 4}
    assert set(calls("out/test/function_calling_test_tools4-6_3calls.json")) == {2, 3}
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    assert ["1-3", "train", "20", "10", "10", "0"] in rows
    assert ["no query", "2"] in rows
    assert ["no JSON object", "1"] in rows


def test_ranges_by_rounds_and_by_number(cli: Cli, source: Path) -> None:
    few = ("--path", source, "--train_size", 8, "--test_size", 2, "--samples_per_tool", 0)
    rounds = ("--num_rounds", 2, "--tools_per_round", 2, "--start_tool", 3)
    assert cli("data", "compose", *few, *rounds).exit_code == 0
    assert sorted(path.name for path in Path("data").glob("*.json")) == [
        "tool_descriptions_tools3-4.json",
        "tool_descriptions_tools5-6.json",
    ]
    done = cli("data", "compose", *few, "--top_k", 3, "--single", "--out", ".", "--connector", "Besides,")
    assert done.exit_code == 0, done.output
    assert len(read_descriptions(Path("tool_descriptions.json"))) == 3
    assert all("Besides, run" in example.query for example in read_calls(Path("function_calling_test.json")))


def test_generated_tools_where_no_rows_are_named(cli: Cli) -> None:
    compose = ("data", "compose", "--top_k", "51-60", "--train_size", 40, "--val_size", 4, "--test_size", 20)
    done = cli(*compose)
    assert done.exit_code == 0, done.output
    assert len(read_calls(Path("data/validation/function_calling_validation_tools51-60_4calls.json"))) == 4
    assert set(calls("data/test/function_calling_test_tools51-60_4calls.json")) == {2, 3, 4}
    beyond = cli(
        "data", "compose", "--top_k", "139-142", "--train_size", 20, "--test_size", 0, "--out", "more"
    )
    assert beyond.exit_code == 0, beyond.output
    assert len(read_descriptions(Path("more/tool_descriptions_tools139-142.json"))) == 4
    endless = cli(*compose, "--samples_per_tool", 0, "--out", "none")
    assert endless.exit_code == 2
    assert "samples_per_tool 0 of generated tools" in endless.stderr


def test_a_schema_that_is_not_valid_is_told_before_anything_is_written(cli: Cli, source: Path) -> None:
    rows = [row for row in json.loads(source.read_text()) if isinstance(row, dict) and row["query"]]
    for row in rows:
        row["tools"][0]["parameters"] = {"type": "object", "properties": {"n": {"type": "txt"}}}
    source.write_text(json.dumps(rows))
    done = cli("data", "compose", "--path", source, "--top_k", "1-3", "--train_size", 8, "--test_size", 2)
    assert done.exit_code == 2, done.output
    assert "the schema of 'tool_" in done.stderr
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--top_k", "1-3,3-6"), "overlap"),
        (("--top_k", "5-7"), "6 tools have rows"),
        (("--top_k", "x"), "a range such as"),
        (("--top_k", "3", "--num_rounds", "2", "--tools_per_round", "1"), "tools and num_rounds"),
        (("--num_rounds", "2"), "the first two together"),
        (("--start_tool", "2"), "the first two together"),
        (("--num_rounds", "2", "--tools_per_round", "0"), "tools_per_round"),
        (("--num_rounds", "0", "--tools_per_round", "2"), "num_rounds"),
        (("--num_rounds", "1", "--tools_per_round", "2", "--start_tool", "0"), "tools 0-1"),
        (("--top_k", "1-3,4-6", "--single"), "--single with 2 ranges"),
        (("--top_k", "1-3", "--train_max_calls_per_round", "2,2"), "1 values"),
        (("--top_k", "1-3", "--test_multi_tool_ratios", "a,b"), "'a' (str)"),
        (("--top_k", "1-3", "--same_tool_share", "2"), "a share from 0 to 1"),
        (("--top_k", "1-6", "--test_size", "900"), "different queries"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    cli: Cli, source: Path, args: tuple[str, ...], says: str
) -> None:
    done = cli("data", "compose", "--path", source, "--train_size", 8, "--test_size", 2, *args)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert not Path("data").exists()
