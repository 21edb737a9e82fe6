"""Prompts, skills and tools are read as lessons; what is none of these is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tokmem.data.lessons.sources import read_lessons
from tokmem.errors import DataError

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SKILL = "---\nname: {name}\ndescription: {description}\nlicense: MIT\n---\n# Title\n\nDo this.\n"


def skill(
    folder: Path, name: str = "pdf-forms", description: str = "Fills forms.", text: str = SKILL
) -> Path:
    folder.mkdir()
    (folder / "SKILL.md").write_text(text.format(name=name, description=description), "utf-8")
    return folder


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_a_prompt_is_named_for_its_file_and_described_by_its_first_line(tmp_path: Path) -> None:
    (lesson,) = read_lessons([write(tmp_path / "polite answer.txt", "\nAnswer politely.\n\nAlways.\n")])
    assert (lesson.name, lesson.procedure.description) == ("polite-answer", "Answer politely.")
    assert lesson.text == "Answer politely.\n\nAlways."
    assert not lesson.is_tool


@pytest.mark.parametrize(
    ("file", "name"),
    [("हिन्दी में.txt", "हिन्दी-में"), ("cafe\u0301 (2).txt", "café-2"), ("_a+b~c.txt", "_a-b-c")],
)
def test_a_name_keeps_the_letters_of_any_script(tmp_path: Path, file: str, name: str) -> None:
    assert read_lessons([write(tmp_path / file, "Answer.")])[0].name == name


@pytest.mark.parametrize("file", ["\u2764\ufe0f.txt", "+++.txt"])
def test_a_file_without_letters_in_its_name_is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(DataError, match="a name without letters"):
        read_lessons([write(tmp_path / file, "Answer.")])


def test_line_ends_of_windows_make_no_other_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    texts = []
    for end in (b"\n", b"\r\n"):
        path.write_bytes(end.join((b"Answer politely.", b"", b"Always.", b"")))
        texts.append(read_lessons([path])[0])
    assert texts[0] == texts[1]


def test_the_end_of_a_name_counts_in_capitals_too(tmp_path: Path) -> None:
    (lesson,) = read_lessons([write(tmp_path / "TOOLS.JSON", [WHOLE])])
    assert lesson.is_tool


def test_a_skill_may_be_written_in_lower_case(tmp_path: Path) -> None:
    folder = skill(tmp_path / "pdf-forms")
    (folder / "SKILL.md").rename(folder / "skill.md")
    for source in (folder, folder / "skill.md"):
        (lesson,) = read_lessons([source])
        assert (lesson.name, lesson.procedure.description) == ("pdf-forms", "Fills forms.")


def test_front_matter_is_no_prompt(tmp_path: Path) -> None:
    agent = write(tmp_path / "helper.md", SKILL.format(name="reviewer", description="Reviews."))
    with pytest.raises(DataError, match=r"helper\.md begins with front matter.*helper/SKILL\.md"):
        read_lessons([agent])
    (lesson,) = read_lessons([write(tmp_path / "ruled.md", "---\n\nSort: what follows.\n\n---\n")])
    assert lesson.name == "ruled", "a rule is no front matter"


def test_a_folder_of_skills_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no SKILL\.md.*another folder"):
        read_lessons([tmp_path])
    skill(tmp_path / "b", "b")
    skill(tmp_path / "a", "a")
    with pytest.raises(DataError, match=r"has no SKILL\.md.*one by one: a, b"):
        read_lessons([tmp_path])


@pytest.mark.parametrize("empty", ["", " \n\u200b\n"])
def test_an_empty_prompt_is_refused(tmp_path: Path, empty: str) -> None:
    with pytest.raises(DataError, match="empty"):
        read_lessons([write(tmp_path / "p.txt", empty)])


def test_a_skill_is_its_front_matter_and_body_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = skill(tmp_path / "pdf-forms")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "run.py").write_bytes(b"\xff\xfe not even text")
    for path in (folder, folder / "SKILL.md"):
        (lesson,) = read_lessons([path])
        assert (lesson.name, lesson.procedure.description) == ("pdf-forms", "Fills forms.")
        assert lesson.text == "# Title\n\nDo this."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "PDF"}, "lower-case"),
        ({"name": "other"}, "the same name"),
        ({"name": "a--b"}, "single hyphens"),
        ({"description": "d" * 1025}, "1025 characters"),
        ({"description": "''"}, "0 characters"),
        ({"description": "[a"}, "broken front matter"),
        ({"text": "# No front matter"}, "no front matter"),
        ({"text": "---\nname: pdf-forms\n---\nDo."}, "no `description`"),
        ({"text": "---\nname: pdf-forms\ndescription: d\n---\n \n"}, "no instructions"),
        ({"text": "---\n- a list\n---\nDo."}, "an object"),
    ],
)
def test_a_broken_skill_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_lessons([skill(tmp_path / "pdf-forms", **change)])


NAMED = {"name": "w", "description": "d"}
WHOLE = {**NAMED, "parameters": SCHEMA}
FORMS = {
    "openai": [{"type": "function", "function": {"name": "w", "description": "d", "parameters": SCHEMA}}],
    "flat": [{"type": "function", "name": "w", "description": "d", "parameters": SCHEMA}],
    "one": {"name": "w", "description": "d", "parameters": SCHEMA},
    "mcp": {"tools": [{"name": "w", "title": "W", "description": "d", "inputSchema": SCHEMA}]},
    "message": {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{**NAMED, "inputSchema": SCHEMA}]}},
    "anthropic": [{**NAMED, "input_schema": SCHEMA}],
    "named": {"name": "my-server", "description": "a list", "tools": [{**NAMED, "inputSchema": SCHEMA}]},
    "request": {"model": "m", "messages": [], "tools": [{"type": "function", "function": WHOLE}]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_tool_is_the_same_lesson(tmp_path: Path, form: str) -> None:
    (lesson,) = read_lessons([write(tmp_path / "tools.json", FORMS[form])])
    assert lesson.is_tool
    assert (lesson.name, lesson.procedure.parameters) == ("w", SCHEMA)
    assert '"city"' in lesson.text


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("message", [True, False])
def test_pages_of_a_list_are_read_together(tmp_path: Path, lines: bool, message: bool) -> None:
    pages: list[dict[str, object]] = [
        {"tools": [{"name": name, "inputSchema": SCHEMA}], "nextCursor": more}
        for name, more in (("a", "2"), ("b", None))
    ]
    if message:
        pages = [{"jsonrpc": "2.0", "id": 1, "result": page} for page in pages]
    content = "\n".join(map(json.dumps, pages)) if lines else pages
    assert [one.name for one in read_lessons([write(tmp_path / "pages.json", content)])] == ["a", "b"]
    content = "\n".join([json.dumps(pages[0])] * 2) if lines else pages[:1]
    with pytest.raises(DataError, match="not the last page"):
        read_lessons([write(tmp_path / "pages.json", content)])


@pytest.mark.parametrize("key", ["parameters", "inputSchema"])
def test_a_schema_of_null_is_none(tmp_path: Path, key: str) -> None:
    (lesson,) = read_lessons([write(tmp_path / "tools.json", [{"name": "w", key: None}])])
    assert lesson.procedure.parameters == {"type": "object", "properties": {}}


def test_a_bfcl_file_gives_each_function_once_with_standard_types(tmp_path: Path) -> None:
    tool = {"name": "a.b", "description": "d", "parameters": {**SCHEMA, "type": "dict"}}
    tool["parameters"]["properties"] = {
        "x": {"type": "float"},
        "y": {"type": "any"},
        "type": {"type": "dict"},
        "default": {"type": "tuple", "default": {"type": "any"}, "enum": [{"type": "float"}]},
    }
    rows = [{"id": str(i), "question": [], "function": [tool]} for i in range(2)]
    (lesson,) = read_lessons([write(tmp_path / "b.json", "\n".join(map(json.dumps, rows)))])
    values = {"default": {"type": "any"}, "enum": [{"type": "float"}]}
    properties = {"x": {"type": "number"}, "y": {}, "type": {"type": "object"}}
    properties["default"] = {"type": "array", **values}
    assert lesson.name == "a.b"
    assert lesson.procedure.parameters == {**SCHEMA, "properties": properties}


def test_types_of_bfcl_in_other_languages_are_standard_too(tmp_path: Path) -> None:
    kinds = {
        **dict.fromkeys(("long", "short", "byte", "Bigint"), "integer"),
        **dict.fromkeys(("char", "String"), "string"),
        **dict.fromkeys(("bool", "Boolean"), "boolean"),
        **dict.fromkeys(("HashMap", "Hashtable"), "object"),
        **dict.fromkeys(("list", "Array", "ArrayList", "Queue", "Set", "Stack"), "array"),
        "double": "number",
    }
    properties: dict[str, object] = {kind: {"type": kind} for kind in kinds}
    properties |= {"either": {"type": ["dict", "null"]}, "Any": {"type": "Any"}}
    row = {"function": [{"name": "a", "parameters": {"type": "dict", "properties": properties}}]}
    (lesson,) = read_lessons([write(tmp_path / "b.json", json.dumps(row))])
    wanted = {kind: {"type": usual} for kind, usual in kinds.items()}
    wanted |= {"either": {"type": ["object", "null"]}, "Any": {}}
    assert (lesson.procedure.parameters or {})["properties"] == wanted


@pytest.mark.parametrize("key", ["function", None])
def test_lines_of_bfcl_may_use_a_name_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str | None
) -> None:
    tools = [{"name": name, "description": text} for name, text in (("a", "1"), ("b", "2"), ("a", "3"))]
    lines = "\n".join(json.dumps({key: tool} if key else tool) for tool in tools)
    lessons = read_lessons([write(tmp_path / "b.json", lines)])
    assert [(one.name, one.procedure.description) for one in lessons] == [("a", "1"), ("b", "2")]
    assert "['a']" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no tools"),
        ("{", "line 1"),
        ({"resources": []}, "a list of tools"),
        ({"tools": [{"name": "w"}], "nextCursor": "2"}, "not the last page"),
        ({"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}}, "Method not found"),
        ('[\n{"name": "w"},\n{"name": "v"}\n{}]', "line 4"),
        ([{"name": ""}], "tool 0: a procedure named ''"),
        ([{"name": "a\nb"}], "visible text on one line"),
        ([{"name": "w", "description": 5}], "the description of 'w'"),
        ([{"description": "nameless"}], "without a name"),
        ([{"name": "w", "parameters": "none"}], "schema of 'w'"),
        ([{"name": "w", "parameters": {"type": "object", "properties": {"a": {"type": "text"}}}}], "text"),
        ([{"name": "w", "parameters": SCHEMA}, {"name": "w", "description": "other"}], "two tools"),
    ],
)
def test_what_is_no_list_of_tools_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_lessons([write(tmp_path / "tools.json", content)])


def test_two_lessons_of_one_name_are_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.txt", "One."), write(tmp_path / "a.md", "Two.")
    with pytest.raises(DataError, match=r"'a' in .*a\.txt and in .*a\.md"):
        read_lessons([first, second])


def test_a_tool_whose_schema_is_not_valid_can_be_left_out(tmp_path: Path) -> None:
    bad = {"name": "v", "parameters": {"type": "object", "properties": {"a": {"type": "text"}}}}
    path = write(tmp_path / "tools.json", [{"name": "w"}, bad])
    with pytest.raises(DataError, match=r"schema of 'v'.*leave the tool out \(--skip v\)"):
        read_lessons([path])
    assert [one.name for one in read_lessons([path], skip=["v"])] == ["w"]
