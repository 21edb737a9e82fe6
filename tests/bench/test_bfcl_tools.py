"""Tools as tokens and as text are judged by the checker of a small leaderboard, made here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import bfcl_tools
from tokmem.records import Answer, Call, ParsedCall

pytest.importorskip("rouge_score")

CHECKER = """
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING

def ast_checker(functions, said, right, language, category, model):
    assert not MODEL_CONFIG_MAPPING[model].underscore_to_dot and language == "python"
    assert functions[0]["name"] in right[0] and category == "simple_python"
    return {"valid": said == right}
"""
FILES = {
    "__init__.py": "",
    "constants/__init__.py": "",
    "constants/enums.py": "class Language:\n    PYTHON = 'python'\n",
    "constants/model_config.py": "raise ImportError('the clients of all vendors')\n",
    "eval_checker/__init__.py": "",
    "eval_checker/ast_eval/__init__.py": "",
    "eval_checker/ast_eval/ast_checker.py": CHECKER,
}
_PATH = {"path": {"type": "string"}, "deep": {"type": "boolean", "default": False}}
FUNCTIONS = [
    {"name": name, "description": f"Runs {name}.", "parameters": {"type": "dict", "properties": own}}
    for name, own in (("ls", _PATH), ("cd", _PATH), ("post", {"note": {"type": "dict", "properties": {}}}))
]
DIALOGUE = {
    "id": "multi_turn_base_0",
    "question": [
        [{"role": "user", "content": text}] for text in ("Show b.", "Go to a.", "List and go.", "Say x.")
    ],
}
CALLS = {
    "id": "multi_turn_base_0",
    "ground_truth": [
        ["ls('b', deep=True)"],
        ["cd(path='a')"],
        ["ls()", "cd(path='..')"],
        ["post(note={'to': ['x']})"],
    ],
}
NAMES = ("weather", "weather", "hotel.book", "song", "train", "tram")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package of the leaderboard's shape."""
    root = tmp_path / "bfcl" / "bfcl_eval"
    schema = {"type": "dict", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked, right = [], []
    for number, name in enumerate(NAMES):
        tool = {"name": name, "description": f"{name} of a city.", "parameters": schema}
        question = [[{"role": "user", "content": f"{name} in Oslo"}]]
        asked.append({"id": f"s_{number}", "question": question, "function": [tool]})
        right.append({"id": f"s_{number}", "ground_truth": [{name: {"city": "Oslo"}}]})
    files = dict(FILES)
    for place, rows in (("data", asked), ("data/possible_answer", right)):
        files[f"{place}/BFCL_v4_simple_python.json"] = "\n".join(map(json.dumps, rows))
    files["data/multi_turn_func_doc/a.json"] = "\n".join(map(json.dumps, FUNCTIONS))
    files["data/BFCL_v4_multi_turn_base.json"] = json.dumps(DIALOGUE)
    files["data/possible_answer/BFCL_v4_multi_turn_base.json"] = json.dumps(CALLS)
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield root.parent
    for name in [name for name in sys.modules if name.startswith("bfcl_eval")]:
        del sys.modules[name]


def test_functions_of_different_names_are_spread_evenly(folder: Path) -> None:
    assert [case.lesson.name for case in bfcl_tools.cases_of(folder, 5, bfcl_tools.SINGLE)] == [
        *dict.fromkeys(NAMES)
    ]
    chosen = bfcl_tools.cases_of(folder, 2, bfcl_tools.SINGLE)
    assert [case.query for case in chosen] == ["weather in Oslo", "song in Oslo"]


def test_turns_that_one_call_answers_are_requests(folder: Path) -> None:
    cases = bfcl_tools.cases_of(folder, 3, bfcl_tools.TURNS)
    assert [case.query for case in cases] == ["Show b.", "Go to a.", "Say x."]
    assert [case.right for case in cases] == [
        [{"ls": {"path": ["b"], "deep": [True]}}],
        [{"cd": {"path": ["a"], "deep": ["", False]}}],
        [{"post": {"note": [{"to": [["x"]]}]}}],
    ]
    assert cases[0].functions == [FUNCTIONS[0]]


def test_the_first_call_of_an_answer_is_judged(folder: Path) -> None:
    cases, judge = bfcl_tools.cases_of(folder, 2, bfcl_tools.SINGLE), bfcl_tools.judge_of(folder)
    right, wrong = Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})
    answers = [Answer(case.query, prompt_tokens=8) for case in cases]
    calls = [[ParsedCall(call, call.name, "") for call in (right, wrong)], []]
    row = bfcl_tools.scored("tokens", cases, answers, calls, judge)
    assert (row["tool_accuracy"], row["calls_right"], row["prompt_tokens"]) == (50, 50, 8)
    calls = [[ParsedCall(wrong, "weather", "")], [ParsedCall(None, "song", "")]]
    row = bfcl_tools.scored("tokens", cases, answers, calls, judge)
    assert (row["tool_accuracy"], row["calls_right"]) == (100, 0)


def test_all_ways_to_give_tools_are_measured(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    place = ("--bfcl", folder, "--work", tmp_path / "work", "--out", out)
    small = ("--tools", "3", "--queries", "6", "--epochs", "1", "--max-new-tokens", "12")
    bfcl_tools.main([*map(str, place), *small, "--backbone", "mini", "--dtype", "float32"])
    found = json.loads(out.read_text("utf-8"))
    assert [row["procedure"] for row in found["rows"]] == ["weather", "hotel.book", "train"]
    free, text = ("tokens", "tokens, given"), ("text, own", "text, own, to schema", "text, five", "text, all")
    ways = (*free, *(f"{way}, to schema" for way in free), *text)
    assert [row["tools_as"] for row in found["calls"]] == [*ways]
    tokens, given, _, held, own, strict, five, whole = found["calls"]
    assert held["tool_accuracy"] == 100
    assert given["tool_accuracy"] == own["tool_accuracy"] == strict["tool_accuracy"] == 100
    assert tokens["prompt_tokens"] < own["prompt_tokens"] < five["prompt_tokens"]
    assert whole["most_tools_shown"] == 3


def test_a_strict_schema_names_all_properties_that_may_come() -> None:
    inner = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}}
    schema = {
        "properties": {"one": inner, "properties": {"type": "string"}},
        "anyOf": [{"properties": {}}, {}],
    }
    assert bfcl_tools.strict_schema(schema) == {
        "additionalProperties": False,
        "properties": {"one": inner, "properties": {"type": "string"}},
        "anyOf": [{"additionalProperties": False, "properties": {}}, {}],
    }
    assert bfcl_tools.strict_schema(None) is None
